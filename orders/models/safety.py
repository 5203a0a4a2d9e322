"""Halts and limits, which are checked before a request is accepted; last prices, which limits need; and who changed them."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import CheckConstraint, F, Index, Q, UniqueConstraint, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from orders.instruments import INSTRUMENT_PATTERN
from orders.states import SafetyEventType


class LastPrice(models.Model):
    """The price of an instrument's last known execution, stored by the transaction that applies executions."""

    instrument = models.CharField(primary_key=True, max_length=12)
    price = models.DecimalField(max_digits=27, decimal_places=8)
    executed_at = models.DateTimeField()

    class Meta:
        constraints = [
            CheckConstraint(name="last_price_positive", condition=Q(price__gt=0)),
            CheckConstraint(name="last_price_instrument_has_12_characters", condition=Q(instrument__regex=INSTRUMENT_PATTERN)),
        ]

    def __str__(self) -> str:
        return f"{self.instrument} {self.price}"


def limit_field(kind: type[models.Field], smallest: int | Decimal, explanation: str, **options: Any) -> Any:
    validators = [MinValueValidator(smallest)]
    return kind(null=True, blank=True, validators=validators, help_text=explanation, **options)


class AccountLimits(models.Model):
    """The limits that an account's orders must meet to be accepted. A limit that is empty does not apply.

    `max_notional` (quantity times limit price) and `price_collar_percent` (how far the limit price may be from the
    instrument's last execution) apply to limit orders only.
    """

    account = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="limits")
    max_quantity = limit_field(models.IntegerField, 1, "The largest quantity of one order.")
    max_notional = limit_field(
        models.DecimalField, Decimal("0.01"), "The most that quantity times limit price may be.", max_digits=28, decimal_places=2
    )
    price_collar_percent = limit_field(
        models.DecimalField,
        Decimal("0.01"),
        "How far a limit price may be from the last execution.",
        max_digits=7,
        decimal_places=2,
    )
    orders_per_second = limit_field(models.IntegerField, 1, "Orders that may come within one second.")
    open_orders = limit_field(models.IntegerField, 1, "Orders that may be open at the same time.")

    class Meta:
        verbose_name = verbose_name_plural = "account limits"
        default_permissions = ["view", "change"]
        constraints = [
            CheckConstraint(name=f"limit_{name}_positive", condition=Q(**{f"{name}__gt": 0}))
            for name in ("max_quantity", "max_notional", "price_collar_percent", "orders_per_second", "open_orders")
        ]

    def __str__(self) -> str:
        return f"Limits of {self.account}"

    @property
    def counts_orders(self) -> bool:
        """Whether orders must be counted. The caller then needs a lock, since another transaction may add one."""
        return self.orders_per_second is not None or self.open_orders is not None


class Halt(models.Model):
    """A period in which nothing is accepted and nothing is sent: for everyone, for one account, or in one instrument.

    In force from `started_at` until `ended_at`. All work that begins after `stopping_since` sees the halt, and at `confirmed_at`
    all earlier work had ended; both times are the database's. After its end the orders that waited are released: so far those
    up to the id `released_up_to`, and all of them by `released_at`.
    """

    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    instrument = models.CharField(max_length=12, null=True)
    started_at = models.DateTimeField(default=timezone.now)
    started_by = models.CharField(max_length=200)
    reason = models.TextField()
    stopping_since = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, null=True)
    end_reason = models.TextField(null=True)
    released_up_to = models.UUIDField(null=True)
    released_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        default_permissions = ["view"]
        permissions = [("halt_trading", "Can halt trading"), ("resume_trading", "Can resume trading")]
        constraints = [
            CheckConstraint(name="halt_has_one_scope", condition=Q(account__isnull=True) | Q(instrument__isnull=True)),
            CheckConstraint(name="halt_instrument_has_12_characters", condition=Q(instrument__regex=INSTRUMENT_PATTERN)),
            CheckConstraint(
                name="halt_says_why",
                condition=Q(reason__regex=r"\S") & (Q(end_reason__isnull=True) | Q(end_reason__regex=r"\S")),
            ),
            CheckConstraint(
                name="halt_ended_by_a_person_with_a_reason",
                condition=Q(ended_at__isnull=True, ended_by__isnull=True, end_reason__isnull=True, released_up_to__isnull=True)
                | Q(ended_at__gte=F("started_at"), ended_by__isnull=False, end_reason__isnull=False),
            ),
            # Only work that began before `stopping_since` may have missed the halt, so a confirmation needs that time.
            CheckConstraint(
                name="halt_confirmed_after_it_was_known",
                condition=Q(confirmed_at__isnull=True) | Q(stopping_since__isnull=False, confirmed_at__gte=F("stopping_since")),
            ),
            CheckConstraint(
                name="halt_released_after_its_end",
                condition=Q(released_at__isnull=True) | Q(released_at__gte=F("ended_at"), ended_at__isnull=False),
            ),
            # At most one halt in force per scope.
            UniqueConstraint(
                Coalesce("account", Value(0)),
                Coalesce("instrument", Value("")),
                name="one_halt_in_force_per_scope",
                condition=Q(ended_at__isnull=True),
            ),
        ]
        indexes = [Index(fields=["id"], name="halt_not_released", condition=Q(released_at__isnull=True))]

    def __str__(self) -> str:
        if self.instrument is not None:
            return f"Trading in {self.instrument}"
        return "All trading" if self.account is None else f"Trading of {self.account}"

    def covers(self, account_id: int, instrument: str) -> bool:
        return self.account_id in (None, account_id) and self.instrument in (None, instrument)


class SafetyEvent(models.Model):
    """Who began or ended a halt or changed limits, when and why. The database refuses to change or delete these rows.

    `data` of `limits_changed` holds the limits before and after.
    """

    type = models.CharField(max_length=16, choices=SafetyEventType)
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    instrument = models.CharField(max_length=12, null=True)
    by = models.CharField(max_length=200)
    reason = models.TextField()
    data = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    occurred_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-id"]
        default_permissions = ["view"]
        constraints = [CheckConstraint(name="safety_event_type_known", condition=Q(type__in=SafetyEventType.values))]

    def __str__(self) -> str:
        return f"{self.type} by {self.by}"
