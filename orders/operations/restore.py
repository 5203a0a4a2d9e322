"""What has to be put right in a database that came back from a backup, before anything works on it again.

Three things are not as they seem there:

- Transaction numbers. A dump that is restored elsewhere carries those of the server that it was made on, and the stream of
  events tells by them what is new.
- What happened after the backup. An order that is pending here may have been sent, filled or canceled since, so none is
  sent before it was looked up, and nothing is sent at all before a person has ended the halt that begins here.
- Kafka, which goes on from where it was, while the reports that recorders had taken from it since are gone from here.
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

REASON = "The database was restored from a backup: compare it with the exchange before trading goes on."
# A number that no server reaches; PostgreSQL wants its lower half to be that of a transaction.
SAW_EVERYTHING = f"{2**62 + 3}:{2**62 + 3}:"
# By the name that each process of ours gives itself: somebody who only looks on does no harm.
OTHERS_AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'lemon_market%' AND pid <> pg_backend_pid()"""
# For each transaction the lowest id among the events of it and of all later ones.
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
    """Other processes work on this database."""


@dataclass(frozen=True, slots=True)
class Restored:
    """How many events were renumbered, how many of them the relay will publish, and how many orders are looked up."""

    events: int
    unpublished: int
    looked_up: int


def is_renumbering_needed() -> bool:
    """Whether there are events of transactions that are yet to come, which only a restored database has."""
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
        raise OtherSessionsConnected(f"{others} connection(s) of other processes of ours are open: stop every process first")


def halt(by: str) -> None:
    try:
        halt_trading(by, REASON)
    except AlreadyHalted:
        return


@transaction.atomic
def renumber_events() -> tuple[int, int]:
    """Give all events the numbers that stand for "restored"; returns how many, and how many are still to be published.

    Without a relay's position nothing was ever published, and a relay that starts begins at the beginning.
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
    """What was sent before the restore is past its `valid_until` by now, so that a 404 proves that an order is not there."""
    now = timezone.now()
    sent = {"may_be_at_exchange": True, "sent_valid_until": now, "held_at": None}
    unsent = Order.objects.filter(status=Status.PENDING, may_be_at_exchange=False)
    unsent.update(**sent, updated_at=now, next_attempt_at=now, claimed_until=None)
    unsettled = Order.objects.filter(Q(status=Status.PENDING) | Q(status=Status.ERROR, may_be_at_exchange=True))
    return unsettled.update(next_attempt_at=now, claimed_until=None)


def want_reconciliation() -> None:
    """Let the update consumer look up all open orders: reports that were applied after the backup will not come again."""
    for feed in FeedPosition.objects.values_list("feed", flat=True):
        look_up_open_orders(feed, timezone.now())
