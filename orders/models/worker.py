"""The processes at work, as they say themselves."""

from django.db import models
from django.db.models import CheckConstraint, Q


class PlacementWorker(models.Model):
    """A process that places orders, or the sweep beside it, as it last said; it does so every few seconds while it works.

    `name` is `host:pid role`. `clock_offset_s` is its clock minus the database's, in seconds. While it waits for an exchange
    that takes nothing from anybody, `paused_until` is when it tries again.
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
