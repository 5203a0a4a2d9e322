import os
import signal
from typing import Any

from django_q.cluster import Cluster
from django_q.management.commands.qcluster import Command as DjangoQCommand

from infrastructure.process_signals import die_with_parent
from infrastructure.sockets import allow_many_sockets
from orders.placement import tasks
from orders.placement.worker_registry import register_this_process


class StoppableCluster(Cluster):
    """Tells running placement loops to finish, instead of waiting up to 20 s for them."""

    def stop(self) -> bool:
        tasks.stopping.value = 1
        return bool(super().stop())


def kill_children_with_this_process() -> None:
    """Kill forked children when their parent dies. Otherwise they would go on working next to its successor's."""
    parents: list[int] = []
    os.register_at_fork(
        before=lambda: parents.append(os.getpid()),
        after_in_parent=parents.clear,
        after_in_child=lambda: die_with_parent(signal.SIGKILL, parents.pop()),
    )


class Command(DjangoQCommand):
    help = "Starts the workers that place orders (django-q2)."

    def handle(self, *args: Any, **options: Any) -> None:
        kill_children_with_this_process()
        allow_many_sockets()
        register_this_process()
        if options.get("cluster_name"):
            os.environ["Q_CLUSTER_NAME"] = options["cluster_name"]
        cluster = StoppableCluster()
        cluster.start()
        if options.get("run_once"):
            cluster.stop()
