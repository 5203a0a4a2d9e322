"""Positions in the exchange's feed and in our own events, and the dead letters that could not be applied."""

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.utils import timezone

from orders.models.order import Order


class FeedPosition(models.Model):
    """How far a feed's reports have been taken. Each transport has its own position.

    `exchange` moves in the transaction that applies the reports; `exchange:kafka` moves after the broker has acknowledged them.
    """

    feed = models.CharField(primary_key=True, max_length=32)
    session_id = models.CharField(max_length=64)
    sequence = models.BigIntegerField()
    # Reports may be missing: at this time a look-up of all orders that are open at the exchange is to begin.
    look_up_open_at = models.DateTimeField(null=True)
    # When it last began, and how far it has got: the open orders with greater ids are still to be looked up.
    look_up_open_began_at = models.DateTimeField(null=True)
    look_up_open_after = models.UUIDField(null=True)
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.feed} {self.session_id}:{self.sequence}"


class RelayPosition(models.Model):
    """How far the outbox relay has published events: all that `snapshot` sees (PostgreSQL's text of a pg_snapshot)."""

    relay = models.CharField(primary_key=True, max_length=32)
    snapshot = models.TextField()
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.relay} {self.snapshot}"


class FeedConnection(models.Model):
    """Whether a feed is connected, as its active follower last reported. It reports every few seconds, for operators to see."""

    feed = models.CharField(primary_key=True, max_length=32)
    is_connected = models.BooleanField()
    # When the present state, connected or not, began.
    since = models.DateTimeField()
    problem = models.TextField(null=True)
    said_at = models.DateTimeField()
    # The newest report that the exchange has mentioned in this session. Reports between our position and it are still to come.
    session_id = models.CharField(max_length=64, null=True)
    last_sequence = models.BigIntegerField(null=True)
    # A look-up showed that reports were missing, and since then they have not arrived: the feed is connected but silent.
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
    """A message from the exchange that could not be applied: unreadable, about no order of ours, or contradicting other messages.

    It is kept with its raw text. A report of the feed stays until `manage.py replay_reports` can apply it. The answer to a
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
