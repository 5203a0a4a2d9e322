"""Where the followers of the exchange's feed and of our own events stand, and what could not be applied."""

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.utils import timezone

from orders.models.order import Order


class FeedPosition(models.Model):
    """How far a feed's reports have been taken, by each transport for itself.

    `exchange` moves in the transaction that applies them; `exchange:kafka` after the broker has acknowledged them.
    """

    feed = models.CharField(primary_key=True, max_length=32)
    session_id = models.CharField(max_length=64)
    sequence = models.BigIntegerField()
    # Reports may be missing: all orders that are open at the exchange at this time are to be looked up.
    look_up_open_at = models.DateTimeField(null=True)
    # The last time that this began, and how far it has got: the open orders with greater ids are still to be looked up.
    look_up_open_began_at = models.DateTimeField(null=True)
    look_up_open_after = models.UUIDField(null=True)
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.feed} {self.session_id}:{self.sequence}"


class RelayPosition(models.Model):
    """Up to where the outbox relay has published events: all that `snapshot` saw (PostgreSQL's text of a pg_snapshot)."""

    relay = models.CharField(primary_key=True, max_length=32)
    snapshot = models.TextField()
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.relay} {self.snapshot}"


class FeedConnection(models.Model):
    """Whether a feed is connected, as its active follower last said; it says so every few seconds, for people to see."""

    feed = models.CharField(primary_key=True, max_length=32)
    is_connected = models.BooleanField()
    # Of this state, connected or not.
    since = models.DateTimeField()
    problem = models.TextField(null=True)
    said_at = models.DateTimeField()
    # The newest report that the exchange has spoken of, in this session: what it has beyond our position is still to be taken.
    session_id = models.CharField(max_length=64, null=True)
    last_sequence = models.BigIntegerField(null=True)
    # A look-up told of reports that had not come, and since then they have not: connected, but of no use.
    silent_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            CheckConstraint(
                name="feed_connected_or_has_problem",
                condition=Q(is_connected=True, problem__isnull=True) | Q(is_connected=False, problem__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.feed} {'connected' if self.is_connected else 'not connected'}"


class DeadLetter(models.Model):
    """What the exchange said and could not be applied: unreadable, about no order of ours, or in contradiction to the rest.

    It is kept with its raw text. A report of the feed stays until `manage.py replay_reports` can apply it; the answer to a
    look-up, which has neither session nor sequence, stays for the order desk to read. `order` is the order that it names.
    """

    raw = models.TextField()
    reason = models.TextField()
    order = models.ForeignKey(Order, on_delete=models.PROTECT, null=True, related_name="dead_letters", db_index=False)
    session_id = models.CharField(max_length=64)
    sequence = models.BigIntegerField(null=True)
    received_at = models.DateTimeField(default=timezone.now)
    applied_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [UniqueConstraint(fields=["session_id", "sequence"], name="dead_letter_once")]
        indexes = [
            Index(fields=["id"], name="dead_letter_waiting", condition=Q(applied_at__isnull=True)),
            Index(fields=["order", "id"], name="dead_letter_by_order", condition=Q(order__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.session_id}:{self.sequence} {self.reason}"
