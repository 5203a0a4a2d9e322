"""What the processes of an installation share beside orders."""

from django.db import connection, models

EXPIRED_ROWS_AT_ONCE = 100
# The rate by which it is written down which proxies do not say whose requests they pass on.
UNKNOWN_CLIENTS = "unknown client"


class RequestCount(models.Model):
    """How often somebody has asked in one window of time. The table is UNLOGGED: a crash of PostgreSQL empties it."""

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
        """Add `count` to that window, in one statement; returns what the window has now. Windows that are over go with it."""
        with connection.cursor() as cursor:
            cursor.execute(ADD, {"rate": rate, "who": who, "ends_at": ends_at, "count": count, "few": EXPIRED_ROWS_AT_ONCE})
            [total] = cursor.fetchone()
        return int(total)


# A window of a process whose clock is behind counts for the newer one.
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
