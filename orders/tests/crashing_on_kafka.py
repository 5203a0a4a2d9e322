"""A process that is killed between the database and Kafka: `python -m orders.tests.crashing_on_kafka POINT`.

`before_publish`: it accepts an order of the account `anna` and dies when the commit is done and nothing published yet.
`before_offsets`: it records what stands in `executions` and dies when that is committed and no offset is yet.
`frozen_before_offsets`: there it stops, and goes on recording when it is continued.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def freeze_once(commit: Callable[..., None]) -> Callable[..., None]:
    frozen: list[bool] = []

    def freeze_and_commit(*args: Any) -> None:
        if not frozen:
            frozen.append(True)
            os.kill(os.getpid(), signal.SIGSTOP)
        commit(*args)

    return freeze_and_commit


if __name__ == "__main__":
    django.setup()

    from django.contrib.auth.models import User

    from orders.executions.kafka_recorder import UpdateRecorder
    from orders.kafka.topics import EXECUTIONS
    from orders.order_entry.service import NewOrder, accept_orders
    from orders.wakeups.kafka import OrdersProducer

    if sys.argv[1] == "before_publish":
        OrdersProducer.publish = die  # type: ignore[method-assign]
        accept_orders(User.objects.get(username="anna").pk, [NewOrder("market", "buy", "AAPL_2025_03", 100)])
    else:
        UpdateRecorder.commit = die if sys.argv[1] == "before_offsets" else freeze_once(UpdateRecorder.commit)  # type: ignore[method-assign]
        recorder = UpdateRecorder()
        recorder.consumer.subscribe([EXECUTIONS.full_name])
        while True:
            recorder.run_once()
