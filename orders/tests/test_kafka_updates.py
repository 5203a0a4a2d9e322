"""From the exchange's feed to the orders through the topic `executions`: twice, in any order, by recorders that die."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence

import psutil
import pytest

from orders.executions.kafka_recorder import UpdateRecorder
from orders.kafka.clients import AcknowledgedProducer, Record, new_consumer, read_batch
from orders.kafka.topics import DEAD_EXECUTIONS, EXECUTIONS, ORDERS, consumer_lag
from orders.models import DeadLetter, Order, OrderEvent
from orders.tests.following import assert_equal_to_the_book, follow_until_settled
from orders.tests.on_kafka import all_messages, append_all, committed_offsets, record_all
from testsupport.database import database_url
from testsupport.placement import run_loop
from testsupport.simulator_process import SimulatorProcess
from testsupport.transport_plugin import PARTITIONS, Transport, used_here
from testsupport.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kafka")]
Accept = Callable[..., Order]


def send_again(records: Sequence[Record]) -> None:
    producer = AcknowledgedProducer()
    for record in records:
        producer.send(EXECUTIONS.full_name, record.value, key=record.key, headers=dict(record.headers))
    producer.flush()
    producer.close()


def test_every_report_is_appended_under_its_order_as_it_came(accept: Accept, simulator: SimulatorProcess) -> None:
    orders = {str(accept().id) for _ in range(5)}
    run_loop(simulator.url)
    append_all(simulator)
    messages = all_messages(EXECUTIONS)
    assert {message.key for message in messages} == orders
    assert {message.headers["version"] for message in messages} == {"1"}
    assert {message.headers["session"] for message in messages} == {simulator.health()["session_id"]}
    assert not OrderEvent.objects.filter(type="filled").exists(), "appending is all that the update consumer does"
    record_all()
    assert_equal_to_the_book(simulator)


def test_reports_that_come_twice_and_in_any_order_count_once(accept: Accept, simulator: SimulatorProcess) -> None:
    for _ in range(10):
        accept()
    run_loop(simulator.url)
    append_all(simulator)
    messages = all_messages(EXECUTIONS)
    backwards = sorted(messages, key=lambda message: (message.partition, message.offset), reverse=True)
    shuffled = random.Random(1).sample(messages, len(messages))  # noqa: S311 - nothing secret
    send_again([*backwards, *shuffled])
    record_all()
    assert_equal_to_the_book(simulator)
    assert DeadLetter.objects.count() == 0


def test_a_recorder_that_dies_between_the_two_commits_records_nothing_twice(accept: Accept, simulator: SimulatorProcess) -> None:
    for _ in range(10):
        accept()
    run_loop(simulator.url)
    append_all(simulator)
    command = [sys.executable, "-m", "orders.tests.crashing_on_kafka", "before_offsets"]
    died = subprocess.run(command, env=os.environ | {"DATABASE_URL": database_url()}, check=False)
    assert died.returncode == -9
    assert OrderEvent.objects.filter(type="filled").exists(), "the database has it"
    assert committed_offsets(EXECUTIONS) == 0, "and Kafka does not know"
    record_all()
    assert_equal_to_the_book(simulator)
    assert DeadLetter.objects.count() == 0


def test_what_cannot_be_read_again_is_given_up_and_read_by_whoever_gets_it(accept: Accept, simulator: SimulatorProcess) -> None:
    """The batch could not be stored, and the partition is not there to go back in."""
    for _ in range(10):
        accept()
    run_loop(simulator.url)
    append_all(simulator)
    recorder = UpdateRecorder()
    recorder.consumer.subscribe([EXECUTIONS.full_name])
    records = wait_until(lambda: read_batch(recorder.consumer, 5, 0.2))
    recorder.consumer.incremental_unassign(recorder.consumer.assignment())
    recorder.read_again(records)
    wait_until(lambda: recorder.run_once() == 0 and consumer_lag(10)["executions"] == 0)
    recorder.consumer.close()
    assert_equal_to_the_book(simulator)


def test_a_rebalance_in_the_middle_of_a_batch_records_nothing_twice(accept: Accept, simulator: SimulatorProcess) -> None:
    for _ in range(30):
        accept()
    run_loop(simulator.url)
    append_all(simulator)
    command = [sys.executable, "-m", "orders.tests.crashing_on_kafka", "frozen_before_offsets"]
    with subprocess.Popen(command, env=os.environ | {"DATABASE_URL": database_url()}) as first:
        try:
            frozen = psutil.Process(first.pid)
            wait_until(lambda: frozen.status() == psutil.STATUS_STOPPED)
            assert committed_offsets(EXECUTIONS) == 0
            # The group misses it, and gives its partitions to another, which reads the same batch.
            record_all()
            frozen.resume()
            accept()
            run_loop(simulator.url)
            append_all(simulator)
            wait_until(lambda: consumer_lag(10)["executions"] == 0)
            assert first.poll() is None, "it goes on, as a member of the group again"
        finally:
            first.kill()
    assert_equal_to_the_book(simulator)
    assert DeadLetter.objects.count() == 0


def test_poison_is_kept_with_its_reason_and_does_not_stop_the_rest(accept: Accept, simulator: SimulatorProcess) -> None:
    accept()
    run_loop(simulator.url)
    append_all(simulator)
    known = {"version": "1", "session": "s1"}
    poison = [
        (b"not json \xff\x00", known, "not JSON"),
        (b'{"type": "new"}', known, "filled_quantity"),
        (b'{"sequence": 7, "type": "new"}', {"version": "2", "session": "s1"}, "version 2"),
        (b"{}", {"version": "1"}, "session"),
        (b"", {}, "version None"),
    ]
    producer = AcknowledgedProducer()
    for value, headers, _ in poison:
        producer.send(EXECUTIONS.full_name, value, key="k", headers=headers)
    producer.flush()
    record_all()
    dead = sorted(all_messages(DEAD_EXECUTIONS), key=lambda message: message.offset)
    assert [message.value for message in dead] == [value for value, _, _ in poison]
    for message, (_, _, reason) in zip(dead, poison, strict=True):
        assert reason in message.headers["reason"]
        assert message.headers["origin"].startswith(EXECUTIONS.full_name)
    # The desk sees them, too.
    assert DeadLetter.objects.count() == len(poison)
    assert_equal_to_the_book(simulator)


def test_the_lag_is_what_waits_to_be_read(accept: Accept, simulator: SimulatorProcess) -> None:
    for _ in range(3):
        accept()
    run_loop(simulator.url)
    append_all(simulator)
    waiting = len(all_messages(EXECUTIONS))
    assert consumer_lag(10) == {"orders": len(all_messages(ORDERS)), "executions": waiting}
    record_all()
    assert consumer_lag(10)["executions"] == 0


def test_switching_the_transport_loses_nothing(accept: Accept, simulator: SimulatorProcess) -> None:
    # Reports stand in the topic, and nobody has recorded them.
    for _ in range(5):
        accept()
    run_loop(simulator.url)
    append_all(simulator)
    accept()
    with used_here(Transport("django_q")):
        for _ in range(5):
            accept()
        run_loop(simulator.url)
        follow_until_settled(simulator.url)
        assert_equal_to_the_book(simulator)
        # Accepted and placed there, filled while nobody follows, and followed on Kafka again.
        for _ in range(5):
            accept()
        run_loop(simulator.url)
    accept()
    run_loop(simulator.url)
    follow_until_settled(simulator.url)
    assert Order.objects.filter(execution_status="filled").count() == 17
    assert_equal_to_the_book(simulator)
    assert DeadLetter.objects.count() == 0


def test_the_partitions_of_a_member_that_reads_nothing_any_more_go_to_others_soon() -> None:
    """It goes on saying that it lives, and by default the others would wait for it for five minutes."""
    silent, other = new_consumer(EXECUTIONS.group or ""), new_consumer(EXECUTIONS.group or "")
    try:
        silent.subscribe([EXECUTIONS.full_name])
        wait_until(lambda: silent.poll(0.2) is None and len(silent.assignment()) == PARTITIONS)
        other.subscribe([EXECUTIONS.full_name])
        wait_until(lambda: other.poll(0.2) is None and len(other.assignment()) == PARTITIONS, within_s=45)
    finally:
        # `silent` stays open: librdkafka sometimes never returns from closing a member that its group has expelled.
        other.close()
