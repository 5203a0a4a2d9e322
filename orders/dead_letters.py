"""Messages from the exchange that could not be applied: each is kept once, with its raw text, until an operator replays it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.conf import settings

from exchange.reports import BadReport, ExecutionReport
from orders import lifecycle
from orders.models import DeadLetter, Order

log = structlog.get_logger()

NOT_OURS = "no order of ours has this client_order_id"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A report and why it was not applied. `order` is the order that it names, if it is ours."""

    report: ExecutionReport | BadReport
    reason: str
    order: Order | None = None


def keep_reports(kept: Sequence[Rejected], session_id: str) -> None:
    """Keep reports in the caller's transaction. A report that arrives again is kept only once."""
    for one in kept:
        log.warning("dead_letter_kept", reason=one.reason, session_id=session_id, sequence=one.report.sequence)
    rows = [
        DeadLetter(raw=one.report.raw, reason=one.reason, session_id=session_id, sequence=one.report.sequence, order=one.order)
        for one in kept
    ]
    DeadLetter.objects.bulk_create(rows, ignore_conflicts=True)


def keep_answer(order: Order, reason: str, raw: str) -> None:
    """Keep the answer to a look-up, in the caller's transaction. An answer that is repeated is kept only once."""
    log.error("look_up_contradicts", order_id=str(order.id), reason=reason)
    if not DeadLetter.objects.filter(order=order, reason=reason, sequence=None, session_id="").exists():
        DeadLetter.objects.create(raw=raw, reason=reason, session_id="", sequence=None, order=order)


def contradicts(order: Order, reason: str, raw: str, now: datetime) -> None:
    """Keep the answer to a look-up, and flag its order, which makes it be looked up again."""
    keep_answer(order, reason, raw)
    lifecycle.flag(order, reason, now + timedelta(seconds=settings.PLACEMENT_RETRY_CAP))
