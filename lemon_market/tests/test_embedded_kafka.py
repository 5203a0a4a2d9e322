import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from devstack import embedded_kafka
from devstack.free_ports import free_port
from testsupport.installation import CHECKOUT
from testsupport.kafka_broker import KafkaBroker
from testsupport.waiting import wait_until


@pytest.fixture(scope="module")
def mortal_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """In a place with a name that means something to shells, to Java and to property files."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka") / "50% of it's #1: a;b,c \\ d=e")
    broker.start()
    yield broker
    broker.stop()


def test_it_keeps_its_messages_over_a_crash_in_a_place_of_any_name(mortal_broker: KafkaBroker) -> None:
    broker = mortal_broker
    producer = Producer({"bootstrap.servers": broker.servers, "acks": "all"})
    admin = AdminClient({"bootstrap.servers": broker.servers})
    admin.create_topics([NewTopic("kept", num_partitions=1)])["kept"].result()
    producer.produce("kept", b"message")
    assert producer.flush(20) == 0
    broker.kill()
    broker.start()
    assert "kept" in admin.list_topics(timeout=10).topics


@pytest.mark.usefixtures("mortal_broker")
def test_it_stops_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "broker = subprocess.Popen([sys.executable, '-m', 'devstack.embedded_kafka', *sys.argv[1:]])\n"
        "print(broker.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(free_port())]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        broker = psutil.Process(int(parent.stdout.readline()))
        wait_until(lambda: "kafka.Kafka" in broker.cmdline(), within_s=30, what="it has become the broker")
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not broker.is_running(), within_s=30, what="it is gone")


@pytest.mark.skipif(not embedded_kafka.is_available(), reason=embedded_kafka.HOW_TO_GET_IT)
def test_it_starts_where_a_checkout_keeps_everything_by_default(tmp_path: Path) -> None:
    """Whose Kafka is inside of DATA_DIR, as nobody's is who sets DATA_DIR."""
    for package in ("devstack", "infrastructure"):
        shutil.copytree(CHECKOUT / package, tmp_path / package)
    programs = tmp_path / embedded_kafka.PROGRAMS.relative_to(CHECKOUT)
    shutil.copytree(embedded_kafka.PROGRAMS, programs, copy_function=os.symlink)
    command = [sys.executable, "-m", "devstack.embedded_kafka", ".local", str(free_port())]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        # This has an end once the broker's log takes its place, and that is the last thing before it is the broker.
        assert process.stderr.read() == ""
        broker = psutil.Process(process.pid)
        try:
            wait_until(lambda: "kafka.Kafka" in broker.cmdline(), within_s=30, what="it has become the broker")
        finally:
            process.kill()


def test_without_kafka_it_says_how_to_get_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devstack.embedded_kafka", str(tmp_path), str(free_port())]
    # No java on this path.
    environment = {**os.environ, "PATH": str(tmp_path)}
    answer = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr.strip()) == (1, embedded_kafka.HOW_TO_GET_IT)
