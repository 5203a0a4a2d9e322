"""The order and its history. Every invariant that one row can express is a named constraint in the database."""

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint
from django.utils import timezone
from uuid_utils.compat import uuid7

from exchange.gateway import Placement
from orders.event_data import NO_CAUSE, Cause, EventData, event_json
from orders.fields import CurrentTransactionId, OldestRunningTransactionId, TransactionIdField
from orders.instruments import INSTRUMENT_PATTERN
from orders.states import ErrorCode, EventType, ExecutionStatus, OrderType, Side, Status

if TYPE_CHECKING:
    from orders.models.safety import Halt

# Printable ASCII without a space at either end.
CLIENT_ORDER_ID_PATTERN = r"^[!-~]([ -~]{0,62}[!-~])?$"
# Failures that an operator can do something about. An order that was refused by limits is kept for audit only.
NEEDS_OPERATOR = Q(status__in=["failed", "error"]) & ~Q(error_code="refused_by_limits")
# Orders that count against an account's limit of open orders: the exchange works on them, may do so, or will.
OPEN = Q(status__in=["pending", "error"]) | Q(execution_status__in=["new", "partially_filled", "pending_cancel"])


def new_event_id() -> str:
    """A new id for an event of ours; the exchange's events carry feed session and execution id instead."""
    return str(uuid7())


class OrderQuerySet(models.QuerySet["Order"]):
    def due(self, now: datetime) -> Self:
        """The orders that workers may claim, the one that has been due for longest first."""
        return self.filter(next_attempt_at__lte=now).order_by("next_attempt_at", "id")

    def open(self) -> Self:
        """The orders that count against an account's limit of open orders."""
        return self.filter(OPEN)

    def needs_operator(self) -> Self:
        """The failures that an operator can do something about."""
        return self.filter(NEEDS_OPERATOR)

    def covered_by(self, halt: "Halt") -> Self:
        """The orders of the halt's account or in its instrument; `Halt.covers` in SQL."""
        covered = self if halt.account_id is None else self.filter(account_id=halt.account_id)
        return covered if halt.instrument is None else covered.filter(instrument=halt.instrument)

    def to_look_up(self, now: datetime) -> Self:
        """The orders that are due to be looked up, the one that has waited for longest first."""
        return self.filter(look_up_at__lte=now).order_by("look_up_at", "id")


class Order(models.Model):
    """One brokerage order and everything known about its placement and execution.

    `id` is made before anything is sent and is the exchange's `client_order_id` on every attempt (FIX tag 11 ClOrdID),
    while `client_order_id` here is the client's own id. Times are UTC. `next_attempt_at` alone says whether workers have
    anything to do for an order (send, look up, cancel), and when; without it there is nothing to do. While trading is halted,
    `held_at` replaces it: the time since which the order waits for the end of the halt.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="orders", db_index=False)
    client_order_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    type = models.CharField(max_length=6, choices=OrderType)
    side = models.CharField(max_length=4, choices=Side)
    instrument = models.CharField(max_length=12)
    limit_price = models.DecimalField(max_digits=19, decimal_places=2, null=True)
    quantity = models.IntegerField()
    expires_at = models.DateTimeField(null=True)

    status = models.CharField(max_length=9, choices=Status, default=Status.PENDING)
    error_code = models.CharField(max_length=32, choices=ErrorCode, null=True)
    error_message = models.TextField(null=True)
    attempt_count = models.IntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, default=timezone.now)
    claimed_until = models.DateTimeField(null=True)
    give_up_at = models.DateTimeField()
    held_at = models.DateTimeField(null=True)
    may_be_at_exchange = models.BooleanField(default=False)
    # The exchange accepts no send of this order after this time; until then a 404 proves nothing.
    sent_valid_until = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)

    exchange_order_id = models.CharField(max_length=64, null=True)
    placed_at = models.DateTimeField(null=True)
    execution_status = models.CharField(max_length=16, choices=ExecutionStatus, null=True)
    filled_quantity = models.IntegerField(default=0)
    filled_value = models.DecimalField(max_digits=38, decimal_places=8, default=Decimal(0))
    average_price = models.DecimalField(max_digits=27, decimal_places=8, null=True)
    # The largest total that the exchange has reported (FIX tag 14 CumQty). It exceeds `filled_quantity` while a fill is missing.
    reported_quantity = models.IntegerField(default=0, db_default=0)
    # A look-up counted the units up to this one. A later report of a fill of these units does not count again.
    looked_up_quantity = models.IntegerField(default=0, db_default=0)
    # When to look the order up, because reports about it are missing or contradict what is known.
    look_up_at = models.DateTimeField(null=True)
    # How the exchange contradicts what is known of the order; kept until a look-up settles it.
    discrepancy = models.TextField(null=True)
    # The exchange acknowledged this order, but since this time each look-up has answered that it does not know it.
    absent_since = models.DateTimeField(null=True)

    objects = OrderQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        permissions = [
            ("retry_order", "Can retry orders"),
            ("cancel_order", "Can cancel orders"),
            ("export_order", "Can export orders"),
            ("end_order", "Can end orders that the exchange does not have"),
        ]
        constraints = [
            # With the columns in this order, the index also finds orders by client order id alone, for the order desk.
            UniqueConstraint(fields=["client_order_id", "account"], name="one_order_per_client_order_id"),
            CheckConstraint(name="order_type_known", condition=Q(type__in=OrderType.values)),
            CheckConstraint(name="order_side_known", condition=Q(side__in=Side.values)),
            CheckConstraint(name="order_status_known", condition=Q(status__in=Status.values)),
            CheckConstraint(name="order_error_code_known", condition=Q(error_code__in=ErrorCode.values)),
            CheckConstraint(name="order_execution_status_known", condition=Q(execution_status__in=ExecutionStatus.values)),
            # A market order takes any price; a limit order needs one.
            CheckConstraint(
                name="market_order_no_price",
                condition=Q(type="market", limit_price__isnull=True) | Q(type="limit", limit_price__isnull=False),
            ),
            CheckConstraint(name="limit_price_positive", condition=Q(limit_price__gt=0)),
            CheckConstraint(name="quantity_positive", condition=Q(quantity__gt=0)),
            # In upper case, or halts, limits and last prices would take two spellings for two instruments.
            CheckConstraint(name="instrument_has_12_characters", condition=Q(instrument__regex=INSTRUMENT_PATTERN)),
            CheckConstraint(name="client_order_id_printable", condition=Q(client_order_id__regex=CLIENT_ORDER_ID_PATTERN)),
            # "Completed" claims that the exchange has the order, so its id there must be known.
            CheckConstraint(
                name="completed_has_exchange_id_and_time",
                condition=~Q(status="completed") | Q(exchange_order_id__isnull=False, placed_at__isnull=False),
            ),
            CheckConstraint(
                name="execution_status_exactly_when_completed",
                condition=Q(status="completed", execution_status__isnull=False)
                | (~Q(status="completed") & Q(execution_status__isnull=True)),
            ),
            # An operator who reviews a failure needs its reason.
            CheckConstraint(
                name="failure_has_code_and_message",
                condition=~Q(status__in=["failed", "error"]) | Q(error_code__isnull=False, error_message__isnull=False),
            ),
            # Both claim that the exchange does not have the order, so it is safe to retry the first and to forget the second.
            CheckConstraint(
                name="settled_without_exchange_is_not_there",
                condition=~Q(status__in=["failed", "canceled"]) | Q(may_be_at_exchange=False),
            ),
            # An order that may have been sent can be proved absent only if it is known until when the exchange accepts it.
            CheckConstraint(
                name="sent_valid_until_exactly_when_sent",
                condition=Q(may_be_at_exchange=True, sent_valid_until__isnull=False)
                | Q(may_be_at_exchange=False, sent_valid_until__isnull=True),
            ),
            # An order that is accepted and not settled always has a time of its next attempt, or waits for the end of a halt.
            CheckConstraint(
                name="pending_has_next_attempt",
                condition=~Q(status="pending") | Q(next_attempt_at__isnull=False) | Q(held_at__isnull=False),
            ),
            # A halt stops sends only: cancels and look-ups go on.
            CheckConstraint(
                name="held_only_before_a_send",
                condition=Q(held_at__isnull=True)
                | Q(status="pending", may_be_at_exchange=False, next_attempt_at__isnull=True, cancel_requested_at__isnull=True),
            ),
            # A cancel that has not reached the exchange yet is work to do, and only open orders have any.
            CheckConstraint(
                name="cancel_requested_has_next_attempt",
                condition=Q(cancel_requested_at__isnull=True)
                | Q(status__in=["pending", "error", "completed"], next_attempt_at__isnull=False),
            ),
            CheckConstraint(
                name="give_up_not_after_expiry",
                condition=Q(expires_at__isnull=True) | Q(give_up_at__lte=F("expires_at")),
            ),
            CheckConstraint(name="attempt_count_not_negative", condition=Q(attempt_count__gte=0)),
            CheckConstraint(
                name="filled_quantity_within_quantity",
                condition=Q(filled_quantity__gte=0, filled_quantity__lte=F("quantity")),
            ),
            CheckConstraint(
                name="reported_quantity_from_filled_to_quantity",
                condition=Q(reported_quantity__gte=F("filled_quantity"), reported_quantity__lte=F("quantity")),
            ),
            CheckConstraint(
                name="looked_up_quantity_within_filled_quantity",
                condition=Q(looked_up_quantity__gte=0, looked_up_quantity__lte=F("filled_quantity")),
            ),
            # Only look-ups settle a discrepancy.
            CheckConstraint(
                name="discrepancy_is_looked_up",
                condition=Q(discrepancy__isnull=True) | Q(look_up_at__isnull=False),
            ),
            # Only an acknowledged order can go missing at the exchange, and an operator must see that it has.
            CheckConstraint(
                name="absent_only_when_completed",
                condition=Q(absent_since__isnull=True) | Q(status="completed", discrepancy__isnull=False),
            ),
            CheckConstraint(
                name="filled_exactly_when_all_is_filled",
                condition=Q(execution_status="filled", filled_quantity=F("quantity"))
                | ((Q(execution_status__isnull=True) | ~Q(execution_status="filled")) & Q(filled_quantity__lt=F("quantity"))),
            ),
            CheckConstraint(
                name="average_price_exactly_when_filled_at_all",
                condition=Q(filled_quantity=0, filled_value=0, average_price__isnull=True)
                | Q(filled_quantity__gt=0, filled_value__gt=0, average_price__isnull=False),
            ),
        ]
        indexes = [
            Index(fields=["account", "-id"], name="order_by_account"),
            # The order desk searches by these.
            Index(fields=["instrument", "-id"], name="order_by_instrument"),
            Index(fields=["exchange_order_id"], name="order_by_exchange_id", condition=Q(exchange_order_id__isnull=False)),
            # Partial: their size depends on the open work, not on the number of orders ever accepted.
            Index(fields=["next_attempt_at", "id"], name="order_due", condition=Q(next_attempt_at__isnull=False)),
            Index(fields=["give_up_at"], name="order_give_up", condition=Q(status="pending", held_at__isnull=True)),
            Index(fields=["expires_at"], name="order_held", condition=Q(held_at__isnull=False)),
            Index(fields=["-id"], name="order_needs_operator", condition=NEEDS_OPERATOR),
            Index(fields=["account"], name="order_open_by_account", condition=OPEN),
            # For the newest or oldest orders of each status but `completed`, which nearly every order has.
            # It includes the error code so that errors are counted from the index alone.
            Index(fields=["status", "-id"], name="order_not_completed", include=["error_code"], condition=~Q(status="completed")),
            Index(fields=["look_up_at", "id"], name="order_to_look_up", condition=Q(look_up_at__isnull=False)),
            Index(fields=["-id"], name="order_with_discrepancy", condition=Q(discrepancy__isnull=False)),
            Index(
                fields=["id"],
                name="order_open_at_exchange",
                condition=Q(execution_status__in=["new", "partially_filled", "pending_cancel"]) | Q(may_be_at_exchange=True),
            ),
        ]

    def __str__(self) -> str:
        price = "" if self.limit_price is None else f" at {self.limit_price}"
        return f"{self.side} {self.quantity} {self.instrument}{price}"

    @property
    def is_refused_by_limits(self) -> bool:
        """Whether the limits of its account refused it. It was stored for audit, and never sent."""
        return self.status == Status.FAILED and self.error_code == ErrorCode.REFUSED_BY_LIMITS

    def placement(self, valid_until: datetime) -> Placement:
        """The order as it is sent to the exchange, which accepts it until `valid_until`."""
        return Placement(
            client_order_id=str(self.id),
            account=str(self.account_id),
            type=self.type,
            side=self.side,
            instrument=self.instrument,
            limit_price=self.limit_price,
            quantity=self.quantity,
            valid_until=valid_until,
        )


class OrderEvent(models.Model):
    """One event in the history of an order, written in the transaction of the change that it describes; append-only.

    `orders.event_data` has the `data` of each type. `tx` and `tx_floor` let a reader resume without missing transactions
    that commit out of order: every event that a reader may lack after event E has `tx >= E.tx_floor`.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.CharField(max_length=128, default=new_event_id)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="events", db_index=False)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", db_index=False)
    type = models.CharField(max_length=16, choices=EventType)
    data = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    occurred_at = models.DateTimeField(default=timezone.now)
    recorded_at = models.DateTimeField(default=timezone.now)
    tx = TransactionIdField(db_default=CurrentTransactionId(), editable=False)
    tx_floor = TransactionIdField(db_default=OldestRunningTransactionId(), editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [
            CheckConstraint(name="order_event_type_known", condition=Q(type__in=EventType.values)),
            # With `unique=True` Django would add a second index, for LIKE, which no query needs.
            UniqueConstraint(fields=["event_id"], name="order_event_id_once"),
            # The acknowledgement and the feed's "new" are the same event, whichever arrives first.
            UniqueConstraint(fields=["order"], name="placed_at_most_once", condition=Q(type="placed")),
        ]
        indexes = [
            Index(fields=["order", "id"], name="order_event_history"),
            # The live stream and its resumption select events by transaction.
            Index(fields=["tx"], name="order_event_by_tx"),
            Index(fields=["account", "tx"], name="order_event_by_account_tx"),
            # For recent placement figures at the order desk: outcomes by minute, the last acknowledgement, latency.
            Index(
                fields=["type", "recorded_at"],
                name="order_event_outcome",
                condition=Q(type__in=["placed", "retrying", "failed", "error"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.order_id}"


def new_event(order: Order, occurred_at: datetime, data: EventData, cause: Cause = NO_CAUSE) -> OrderEvent:
    """Make an event of `order`, of the type that `data` belongs to; the caller stores it."""
    json = event_json(data, cause)
    return OrderEvent(order=order, account_id=order.account_id, type=data.type.value, data=json, occurred_at=occurred_at)
