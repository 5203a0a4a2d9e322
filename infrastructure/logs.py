"""Log lines: for people, or one JSON object each. Each tells the request and the order that it is about, where there is one.

Nothing here needs Django, so that granian's own process and the supervisor write their lines in the same way.
"""

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from uuid_utils.compat import uuid7

# What a proxy or a client may call its request; anything else is replaced, so that nobody forges a line of a log.
REQUEST_ID_PATTERN = r"[A-Za-z0-9._:/+=-]{1,64}"
# All but tab and line feed, which traces have.
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
STEPS: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper("iso"),
]


def request_id(given: str | None) -> str:
    """The id that the sender gave to its request, if it is fit to be one; else a new one."""
    return given if given is not None and re.fullmatch(REQUEST_ID_PATTERN, given) else str(uuid7())


def without_control_characters(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A terminal obeys them, and a client may have sent them. JSON has a way of its own to write them."""
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
    """For `granian-json-logs.json`, which can name a function and give it nothing."""
    return formatter(as_json=True)


def configuration(level: str, *, as_json: bool) -> dict[str, Any]:
    """Prepare structlog and return what Django's setting LOGGING has to be."""
    structlog.configure(
        processors=[*STEPS, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    if as_json:
        # An exception that nobody catches is told by Python itself, in many lines.
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
            # It reports every task that is queued or done, which is every order.
            "django-q": {"level": "WARNING", "handlers": ["console"], "propagate": False},
            # Every signing in; those that fail are warnings.
            "axes": {"level": "WARNING"},
            # Every 4xx answer; those are the client's business.
            "django.request": {"level": "ERROR"},
            # Statements with their parameters, among which are keys of sessions and hashes of passwords.
            "django.db.backends": {"level": "WARNING"},
            # What granian has to say in the processes that serve.
            "_granian": {"handlers": [], "propagate": True},
            "granian.access": {"handlers": [], "propagate": True},
        },
    }


def log_uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("uncaught").critical("process_failed", exc_info=(kind, error, trace))
