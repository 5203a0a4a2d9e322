"""Apply dead letters again, when an operator asks for it."""

from django.db import transaction
from django.utils import timezone

from exchange.reports import BadReport, ExecutionReport, parse_frame
from orders.executions.reports import CannotApply, apply_one, read_batch, store
from orders.models import DeadLetter


def replay_dead_letters() -> tuple[int, int]:
    """Apply every dead letter again, oldest first. Return how many were applied and how many were not."""
    applied = remaining = 0
    # Answers to look-ups are not replayed, since the next look-up replaces them.
    reports = DeadLetter.objects.filter(applied_at__isnull=True).exclude(session_id="").order_by("id")
    for kept in reports.iterator(chunk_size=500):
        with transaction.atomic():
            if apply_kept(kept):
                kept.applied_at = timezone.now()
                applied += 1
            else:
                remaining += 1
            kept.save()
    return applied, remaining


def apply_kept(kept: DeadLetter) -> bool:
    """Apply one report. True if it is applied now or was before; otherwise update its reason."""
    report = parse_frame(kept.raw.encode())
    if not isinstance(report, ExecutionReport):
        kept.reason = report.error if isinstance(report, BadReport) else "not a report"
        return False
    batch = read_batch([report], kept.session_id)
    try:
        apply_one(batch, report)
    except CannotApply as problem:
        kept.reason = problem.reason
        return False
    store(batch)
    return True
