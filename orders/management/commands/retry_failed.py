import sys
import uuid
from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from tqdm import tqdm

from infrastructure.database.unavailable import database_needed
from orders.management.operator_name import operator_name
from orders.management.safety import instrument
from orders.models import Order
from orders.placement.manual_retry import RETRYABLE, Retried, reasons_not_to_retry, retry_orders

CHUNK = 200


def moment(text: str) -> datetime:
    try:
        parsed = parse_datetime(text)
    except ValueError:
        # Well-formed, but not a date in the calendar.
        parsed = None
    if parsed is None:
        raise ArgumentTypeError("a time such as 2030-01-31 or 2030-01-31T15:30:00Z is needed")
    return timezone.make_aware(parsed) if timezone.is_naive(parsed) else parsed


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError("a whole number from 1 is needed")
    return int(text)


class Command(BaseCommand):
    help = "Retries orders with status failed or error; those that may be at the exchange are looked up there first."

    def add_arguments(self, parser: CommandParser) -> None:
        choices = [status.value for status in RETRYABLE]
        parser.add_argument("--status", choices=choices, action="append", help="only this status (default: failed and error)")
        parser.add_argument("--instrument", type=instrument, help="only this instrument")
        parser.add_argument("--account", help="only this account (its user name)")
        parser.add_argument(
            "--since", type=moment, help="only orders accepted at or after this time (UTC unless it has an offset)"
        )
        parser.add_argument("--limit", type=positive, help="at most this many, oldest first")
        parser.add_argument("--dry-run", action="store_true", help="only show what would happen")

    def handle(self, *args: Any, **options: Any) -> None:
        with database_needed():
            ids = list(self.selected(options).values_list("id", flat=True))
            if not ids:
                self.stdout.write("Nothing to retry.")
                return
            if options["dry_run"]:
                retried = would_retry(ids)
                self.stdout.write(f"Dry run, nothing was changed. Of {len(ids)} order(s): {retried}.")
            else:
                retried = self.retry(ids)
                self.stdout.write(f"Of {len(ids)} order(s): {retried}.")

    def selected(self, options: dict[str, Any]) -> QuerySet[Order]:
        orders = Order.objects.needs_operator().filter(status__in=options["status"] or RETRYABLE).order_by("id")
        if options["instrument"] is not None:
            orders = orders.filter(instrument=options["instrument"])
        if options["account"] is not None:
            if not get_user_model().objects.filter(username=options["account"]).exists():
                raise CommandError(f"There is no account {options['account']!r}.")
            orders = orders.filter(account__username=options["account"])
        if options["since"]:
            orders = orders.filter(created_at__gte=options["since"])
        if options["limit"]:
            # Expired orders stay failed for ever. They are left out, or in time they would be all of the oldest ones.
            return orders.exclude(expires_at__lte=timezone.now(), may_be_at_exchange=False)[: options["limit"]]
        return orders

    def retry(self, ids: list[uuid.UUID]) -> Retried:
        total = Retried()
        with tqdm(total=len(ids), unit=" orders", file=sys.stderr, disable=None) as progress:
            for chunk in chunks(ids):
                total.add(retry_orders(chunk, requested_by=f"{operator_name()} (manage.py retry_failed)"))
                progress.update(len(chunk))
        return total


def would_retry(ids: list[uuid.UUID]) -> Retried:
    total = Retried()
    for chunk in chunks(ids):
        orders = list(Order.objects.filter(id__in=chunk).order_by("id"))
        total.passed_over |= (passed_over := reasons_not_to_retry(orders))
        for order in orders:
            if order.id not in passed_over:
                (total.looked_up if order.may_be_at_exchange else total.sent).append(order.id)
    return total


def chunks(ids: list[uuid.UUID]) -> list[list[uuid.UUID]]:
    return [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
