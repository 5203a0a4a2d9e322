"""Prepare a database that was restored from a backup, before any process works on it again.

Three things are wrong in it:

- Transaction numbers. A dump that is restored elsewhere carries the numbers of its old server, and the stream of events uses
  them to tell which events are new.
- Orders that changed after the backup. An order that is pending here may have been sent, filled or canceled since. So each
  is looked up before it is sent, and nothing is sent until an operator ends the halt that begins here.
- Kafka, which continues from where it was, while reports that recorders took from it after the backup are missing here.
"""

from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from orders.events.stream import RESTORED, RESTORED_UNPUBLISHED
from orders.executions.feed_positions import look_up_open_orders
from orders.models import FeedPosition, Order, RelayPosition
from orders.risk.switches import AlreadyHalted, halt_trading
from orders.states import Status

REASON = "The database was restored from a backup: compare it with the exchange before trading resumes."
# A number that no server reaches. PostgreSQL requires its lower half to be a valid transaction number.
SAW_EVERYTHING = f"{2**62 + 3}:{2**62 + 3}:"
# Other processes are found by the name that each of ours gives its connection. Other programs that only read do no harm.
OTHERS_AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'lemon_market%' AND pid <> pg_backend_pid()"""
# For each transaction: the lowest event id of that transaction and all later ones.
RESUME_FROM = """
    CREATE TEMPORARY TABLE resume_from ON COMMIT DROP AS
    SELECT tx, min(first_id) OVER (ORDER BY tx DESC) AS from_id
    FROM (SELECT tx, min(id) AS first_id FROM orders_orderevent WHERE tx > %(last)s::xid8 GROUP BY tx) AS transactions"""
RENUMBER = """
    UPDATE orders_orderevent
    SET tx = CASE WHEN pg_visible_in_snapshot(tx, %(published)s::pg_snapshot) THEN %(first)s ELSE %(last)s END::xid8,
        tx_floor = CASE WHEN tx <= %(last)s::xid8 THEN tx_floor ELSE
            (SELECT from_id::text::xid8 FROM resume_from WHERE resume_from.tx >= tx_floor ORDER BY resume_from.tx LIMIT 1) END
    WHERE tx <> %(first)s::xid8"""


class OtherSessionsConnected(Exception):
    """Other processes are connected to this database."""


@dataclass(frozen=True, slots=True)
class Restored:
    """How many events were renumbered, how many events the relay will publish, and how many orders will be looked up."""

    events: int
    unpublished: int
    looked_up: int


def is_renumbering_needed() -> bool:
    """Whether there are events of transactions whose numbers are still to come, as only a restored database has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(tx) >= pg_snapshot_xmax(pg_current_snapshot())"
            " FROM (SELECT tx FROM orders_orderevent ORDER BY tx DESC LIMIT 1) AS newest"
        )
        [(is_needed,)] = cursor.fetchall()
    return bool(is_needed)


def prepare_restored_database(by: str) -> Restored:
    """Halt trading, renumber events, have open orders looked up. All or nothing, and safe to repeat.

    Raises OtherSessionsConnected.
    """
    with transaction.atomic():
        require_exclusive_access()
        halt(by)
        events, unpublished = renumber_events()
        looked_up = have_pending_orders_looked_up()
        want_reconciliation()
    return Restored(events, unpublished, looked_up)


def require_exclusive_access() -> None:
    with connection.cursor() as cursor:
        cursor.execute(OTHERS_AT_WORK)
        [(others,)] = cursor.fetchall()
    if others:
        raise OtherSessionsConnected(f"{others} connection(s) of our other processes are open: stop every process first")


def halt(by: str) -> None:
    try:
        halt_trading(by, REASON)
    except AlreadyHalted:
        return


@transaction.atomic
def renumber_events() -> tuple[int, int]:
    """Give all events the transaction numbers that mean "restored". Return how many, and how many are still to be published.

    If there is no relay position, nothing was ever published, and a relay will start at the beginning.
    """
    relay = RelayPosition.objects.first()
    published = SAW_EVERYTHING if relay is None else relay.snapshot
    numbers = {"first": str(RESTORED), "last": str(RESTORED_UNPUBLISHED), "published": published}
    with connection.cursor() as cursor:
        cursor.execute(RESUME_FROM, numbers)
        cursor.execute("CREATE INDEX ON resume_from (tx)")
        cursor.execute(RENUMBER, numbers)
        renumbered = cursor.rowcount
        cursor.execute("SELECT count(*) FROM orders_orderevent WHERE tx = %(last)s::xid8", numbers)
        [(unpublished,)] = cursor.fetchall()
    RelayPosition.objects.update(snapshot=f"{RESTORED_UNPUBLISHED}:{RESTORED_UNPUBLISHED}:", updated_at=timezone.now())
    return renumbered, unpublished


def have_pending_orders_looked_up() -> int:
    """Have pending orders looked up. By now their sends are past `valid_until`, so a 404 proves that an order is not there."""
    now = timezone.now()
    sent = {"may_be_at_exchange": True, "sent_valid_until": now, "held_at": None}
    unsent = Order.objects.filter(status=Status.PENDING, may_be_at_exchange=False)
    unsent.update(**sent, updated_at=now, next_attempt_at=now, claimed_until=None)
    unsettled = Order.objects.filter(Q(status=Status.PENDING) | Q(status=Status.ERROR, may_be_at_exchange=True))
    return unsettled.update(next_attempt_at=now, claimed_until=None)


def want_reconciliation() -> None:
    """Have the update consumer look up all open orders: reports that were applied after the backup will not arrive again."""
    for feed in FeedPosition.objects.values_list("feed", flat=True):
        look_up_open_orders(feed, timezone.now())
