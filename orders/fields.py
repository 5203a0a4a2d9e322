"""Column types for which Django has no field."""

from typing import Any

from django.db import models
from django.db.models import Func


class TransactionIdField(models.Field):
    """PostgreSQL's `xid8`: a transaction number of 64 bits, which never wraps around."""

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: str | int | None, *_: Any) -> int | None:
        return None if value is None else int(value)


class CurrentTransactionId(Func):
    """The number of the transaction that writes the row."""

    template = "pg_current_xact_id()"
    output_field = TransactionIdField()


class OldestRunningTransactionId(Func):
    """The number below which all transactions had ended when the row was written."""

    template = "pg_snapshot_xmin(pg_current_snapshot())"
    output_field = TransactionIdField()
