"""Where the followers of the exchange's feed and of our own events stand, and what could not be applied."""

from django.db import models
from django.db.models import CheckConstraint, Index, Q, UniqueConstraint
from django.utils import timezone


class FeedPosition(models.Model):
    """How far a feed's reports have been taken, by each transport for itself.

    `exchange` moves in the transaction that applies them; `exchange:kafka` after the broker has acknowledged them.
    """

    feed = models.CharField(primary_key=True, max_length=32)
    session_id = models.CharField(max_length=64)
    sequence = models.BigIntegerField()
    # Reports may be missing before this position, and the look-ups that make up for them are not done yet. They concern
    # the orders that are open, and those that ended in an event after this one: the report of the end may have been
    # recorded while one from before it was missing.
    reconcile_events_after = models.BigIntegerField(null=True)
    updated_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.feed} {self.session_id}:{self.sequence}"


class FeedSession(models.Model):
    """A session of the exchange's feed. They are numbered in the order in which they began."""

    id = models.BigAutoField(primary_key=True)
    session_id = models.CharField(max_length=64, unique=True)
    began_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.session_id


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

    class Meta:
        constraints = [
            CheckConstraint(
                name="feed_connected_or_has_problem",
                condition=Q(is_connected=True, problem__isnull=True) | Q(is_connected=False, problem__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.feed} {'connected' if self.is_connected else 'not connected'}"


class SetAsideReport(models.Model):
    """A report of the exchange that could not be applied: unreadable, or about an order that is not ours, or impossible.

    It is kept with its raw text until `manage.py replay_reports` can apply it.
    """

    raw = models.TextField()
    reason = models.TextField()
    session_id = models.CharField(max_length=64)
    sequence = models.BigIntegerField(null=True)
    received_at = models.DateTimeField(default=timezone.now)
    applied_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [UniqueConstraint(fields=["session_id", "sequence"], name="set_aside_once")]
        indexes = [Index(fields=["id"], name="report_set_aside", condition=Q(applied_at__isnull=True))]

    def __str__(self) -> str:
        return f"{self.session_id}:{self.sequence} {self.reason}"
