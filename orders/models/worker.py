"""The running placement processes, as they report themselves."""

from django.db import models
from django.db.models import CheckConstraint, Q


class PlacementWorker(models.Model):
    """The last report of a process that places orders, or of a sweep. It reports every few seconds while it works.

    `name` is `host:pid role`. `clock_offset_s` is its clock minus the database's, in seconds. While the exchange accepts
    nothing, `paused_until` is when the process tries again.
    """

    name = models.CharField(primary_key=True, max_length=200)
    said_at = models.DateTimeField()
    clock_offset_s = models.FloatField(null=True)
    problem = models.TextField(null=True)
    paused_until = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()
        constraints = [
            CheckConstraint(
                name="paused_worker_has_problem",
                condition=Q(paused_until__isnull=True) | Q(problem__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.problem or 'well'}"

    @property
    def host(self) -> str:
        return self.name.partition(":")[0]
