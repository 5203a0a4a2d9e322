"""The pre-trade checks of a request: the halts in force and the account's limits, read together."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from orders.models import AccountLimits, Halt
from orders.risk.limits import LIMIT_NAMES


def halt_covers(account: str, instruments: str) -> str:
    """SQL: whether a halt is in force for the account or for one of the instruments; both arguments are SQL expressions."""
    return f"""halt.ended_at IS NULL
        AND (halt.account_id IS NULL OR halt.account_id = {account})
        AND (halt.instrument IS NULL OR halt.instrument = ANY({instruments}))"""


def nothing_to_check(account: str, instruments: str) -> str:
    """SQL: whether an account's orders in some instruments have neither halts nor limits.

    OFFSET 0 makes PostgreSQL look these up for each account, by their indexes. Otherwise it could join whole tables, by a plan
    that it made when they were empty.
    """
    covers = halt_covers(account, instruments)
    return f"""
        NOT EXISTS (SELECT FROM orders_accountlimits AS limits WHERE limits.account_id = {account} OFFSET 0)
        AND NOT EXISTS (SELECT FROM orders_halt AS halt WHERE {covers} OFFSET 0)"""  # noqa: S608 - it contains no values


HALT_COLUMNS = ("id", "account_id", "instrument", "started_at", "confirmed_at")
# One statement for both, because every order that is accepted waits for it. It returns one row, or one for each halt.
QUERY = f"""
SELECT account.id = limits.account_id, {", ".join(f"limits.{name}" for name in LIMIT_NAMES)},
       {", ".join(f"halt.{name}" for name in HALT_COLUMNS)}
FROM (SELECT %(account)s::integer AS id) AS account
LEFT JOIN orders_accountlimits AS limits ON limits.account_id = account.id
LEFT JOIN orders_halt AS halt ON {halt_covers("%(account)s::integer", "%(instruments)s::text[]")}
"""  # noqa: S608 - only column names of our own


@dataclass(frozen=True, slots=True)
class Safety:
    """`halts` are those in force for the account or in one of the instruments; `limits` is None if there are none."""

    halts: list[Halt]
    limits: AccountLimits | None


def safety_of(account_id: int, instruments: Iterable[str]) -> Safety:
    with connection.cursor() as cursor:
        cursor.execute(QUERY, {"account": account_id, "instruments": list(set(instruments))})
        rows = cursor.fetchall()
    has_limits, *limits = rows[0][: 1 + len(LIMIT_NAMES)]
    found = [dict(zip(HALT_COLUMNS, row[-len(HALT_COLUMNS) :], strict=True)) for row in rows]
    halts = [Halt(**halt) for halt in found if halt["id"] is not None]
    return Safety(halts, AccountLimits(account_id, *limits) if has_limits else None)
