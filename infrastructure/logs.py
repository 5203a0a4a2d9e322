"""Log lines: readable text, or one JSON object each. Each names the request and the order that it is about, if any.

Nothing here needs Django, so that granian's own process and the supervisor can log in the same format.
"""

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from uuid_utils.compat import uuid7

# The request ids that a proxy or a client may choose; anything else is replaced, so that nobody can forge a log line.
REQUEST_ID_PATTERN = r"[A-Za-z0-9._:/+=-]{1,64}"
# All but tab and line feed, which stack traces contain.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
STEPS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper("iso"),
]


def request_id(given: str | None) -> str:
    """The sender's id of its request if it is valid, else a new one."""
    return given if given is not None and re.fullmatch(REQUEST_ID_PATTERN, given) else str(uuid7())


def without_control_characters(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape control characters: a terminal obeys them, and a client may have sent them. JSON escapes them by itself."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = CONTROL_CHARACTER.sub(lambda found: f"\\x{ord(found[0]):02x}", value)
    return event


def formatter(*, as_json: bool) -> logging.Formatter:
    as_text: list[structlog.typing.Processor] = [without_control_characters, structlog.dev.ConsoleRenderer(colors=False)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(remove_positional_args=True), *STEPS],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *([structlog.processors.JSONRenderer(default=str)] if as_json else as_text),
        ],
    )


def json_formatter() -> logging.Formatter:
    """For `granian-json-logs.json`, which can name a function but pass it no arguments."""
    return formatter(as_json=True)


def configuration(level: str, *, as_json: bool) -> dict[str, Any]:
    """Configure structlog and return Django's LOGGING setting."""
    structlog.configure(
        processors=[*STEPS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    if as_json:
        # Python itself would print an uncaught exception on many lines.
        sys.excepthook = log_uncaught
        threading.excepthook = lambda caught: log_uncaught(caught.exc_type, caught.exc_value, caught.exc_traceback)
        logging.captureWarnings(capture=True)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"structured": {"()": "infrastructure.logs.formatter", "as_json": as_json}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            # It logs every task that is queued or done, and so every order.
            "django-q": {"level": "WARNING", "handlers": ["console"], "propagate": False},
            # It logs every login; failed ones are warnings.
            "axes": {"level": "WARNING"},
            # It logs every 4xx response; those are the client's business.
            "django.request": {"level": "ERROR"},
            # It logs statements with their parameters, which include session keys and password hashes.
            "django.db.backends": {"level": "WARNING"},
            # Granian's own lines in the processes that serve requests.
            "_granian": {"handlers": [], "propagate": True},
            "granian.access": {"handlers": [], "propagate": True},
        },
    }


def log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("uncaught").critical("process_failed", exc_info=(kind, error, trace))
