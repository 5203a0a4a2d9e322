import asyncio
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from infrastructure.database.unavailable import database_needed
from orders.executions.gap_look_ups import ExchangeUnavailable
from orders.executions.reconciliation import Comparison, compare_open_orders
from orders.venue import open_gateway


class Command(BaseCommand):
    help = (
        "Looks up at the exchange every open order and every order that failed in the last 7 days, and shows what differs. "
        "Exit code 1 when something is left to do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="adopt the exchange's state")
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with database_needed():
                comparison = asyncio.run(compare(apply=options["apply"]))
        except ExchangeUnavailable as error:
            raise CommandError(f"The exchange does not answer: {error}") from error
        self.stdout.write(as_json(comparison) if options["json"] else as_table(comparison, applied=options["apply"]))
        is_fixed = options["apply"] and all(difference.can_be_mended for difference in comparison.differences)
        if comparison.not_ours or (comparison.differences and not is_fixed):
            sys.exit(1)


async def compare(*, apply: bool) -> Comparison:
    async with open_gateway() as gateway:
        return await compare_open_orders(gateway, apply=apply)


def as_json(comparison: Comparison) -> str:
    differences = [
        {"order_id": str(one.order_id), "here": one.here, "there": one.there, "can_be_mended": one.can_be_mended}
        for one in comparison.differences
    ]
    return json.dumps({"looked_up": comparison.looked_up, "differences": differences, "not_ours": comparison.not_ours})


def as_table(comparison: Comparison, *, applied: bool) -> str:
    lines = [f"{comparison.looked_up} order(s) looked up, {len(comparison.differences)} differ(s)."]
    for one in comparison.differences:
        todo = ("fixed" if applied else "fixed by --apply") if one.can_be_mended else "for an operator"
        lines.append(f"{one.order_id}  here: {one.here}  there: {one.there}  ({todo})")
    if comparison.not_ours:
        lines.append(f"{len(comparison.not_ours)} order(s) are at the exchange but not in this database:")
        lines += [f"{id}  {words}" for id, words in comparison.not_ours.items()]
    return "\n".join(lines)
