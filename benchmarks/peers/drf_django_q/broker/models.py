from django.db import models
from django.db.models import Q


class Order(models.Model):
    created_at = models.DateTimeField(auto_now_add=True)
    type = models.CharField(max_length=6, choices=[("market", "market"), ("limit", "limit")])
    side = models.CharField(max_length=4, choices=[("buy", "buy"), ("sell", "sell")])
    instrument = models.CharField(max_length=12)
    limit_price = models.DecimalField(max_digits=19, decimal_places=2, null=True)
    quantity = models.PositiveIntegerField()
    status = models.CharField(max_length=20, default="pending", editable=False)
    error_message = models.TextField(null=True, editable=False)

    class Meta:
        db_table = "orders"
        constraints = [
            models.CheckConstraint(
                name="market_order_no_price",
                condition=Q(type="market", limit_price__isnull=True) | Q(type="limit", limit_price__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.quantity} {self.instrument}"
