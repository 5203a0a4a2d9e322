"""What the processes of an installation share apart from orders."""

from django.db import connection, models

EXPIRED_ROWS_AT_ONCE = 100
# The rate that records which proxies do not name the client of the requests they forward.
UNKNOWN_CLIENTS = "unknown client"


class RequestCount(models.Model):
    """How many requests a client has sent in one time window. The table is UNLOGGED: a crash of PostgreSQL empties it."""

    rate = models.CharField(max_length=20)
    who = models.CharField(max_length=64)
    # Seconds since 1970 (POSIX).
    ends_at = models.BigIntegerField()
    count = models.BigIntegerField()
    pk = models.CompositePrimaryKey("rate", "who")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["ends_at"], name="request_counts_to_remove")]

    def __str__(self) -> str:
        return f"{self.count} of {self.rate} {self.who}"

    @classmethod
    def add(cls, rate: str, who: str, ends_at: int, count: int) -> int:
        """Add `count` to the window and return its new total, in one statement that also deletes some expired windows."""
        with connection.cursor() as cursor:
            cursor.execute(ADD, {"rate": rate, "who": who, "ends_at": ends_at, "count": count, "few": EXPIRED_ROWS_AT_ONCE})
            [total] = cursor.fetchone()
        return int(total)


# A process whose clock is behind adds to the newer window.
ADD = """
WITH expired AS (
    DELETE FROM infrastructure_requestcount WHERE (rate, who) IN (
        SELECT rate, who FROM infrastructure_requestcount WHERE ends_at < %(ends_at)s - 120 AND (rate, who) <> (%(rate)s, %(who)s)
        LIMIT %(few)s FOR UPDATE SKIP LOCKED
    )
)
INSERT INTO infrastructure_requestcount AS known (rate, who, ends_at, count)
VALUES (%(rate)s, %(who)s, %(ends_at)s, %(count)s)
ON CONFLICT (rate, who) DO UPDATE SET
    count = CASE WHEN known.ends_at < EXCLUDED.ends_at THEN EXCLUDED.count ELSE known.count + EXCLUDED.count END,
    ends_at = greatest(known.ends_at, EXCLUDED.ends_at)
RETURNING count
"""
