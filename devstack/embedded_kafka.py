"""Runs Apache Kafka, one node in KRaft mode, under DATA_DIR/kafka.

    python -m devstack.embedded_kafka DATA_DIR PORT

creates its storage at the first start and then *becomes* the broker, as the process supervisor needs. It listens on
127.0.0.1 only: for clients on PORT, and for its own controller on any free port. It stops with its parent.

A single node keeps one copy of everything, which is fine for trials and tests and for nothing else.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from signal import SIGTERM

from devstack.free_ports import free_port
from devstack.log_files import open_log
from infrastructure.process_signals import die_with_parent

# Where `make kafka-programs` puts its downloads.
PROGRAMS = Path(__file__).resolve().parent.parent / ".local" / "kafka-programs"
HOW_TO_GET_IT = "no Apache Kafka: install Java 17 and Maven (Debian: default-jre-headless, maven), then run make kafka-programs"
# Any 16 bytes in base64url; a broker rejects the storage of another cluster.
CLUSTER_ID = "bGVtb24tbWFya2V0LWthZg"
JAVA_OPTIONS = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class KafkaError(Exception):
    """Kafka cannot be started; the message is one line."""


def is_available() -> bool:
    """Whether Kafka and Java are installed on this machine."""
    return (PROGRAMS / ".whole").exists() and shutil.which("java") is not None


def properties(port: int, controller_port: int) -> dict[str, str]:
    """The broker's configuration. Paths are relative to its working directory, whose own path may contain any character."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENTS://127.0.0.1:{port}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "data",
        # A misspelt topic is an error, not a new topic.
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # A killed broker can register again only when its last session is over.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # The first member of a group need not wait for others to join.
        "group.initial.rebalance.delay.ms": "0",
    }


def become_broker(data_dir: Path, port: int) -> None:
    """Turn this process into the broker. Raises KafkaError, OSError."""
    if not is_available():
        raise KafkaError(HOW_TO_GET_IT)
    parent = os.getppid()
    java = str(shutil.which("java"))
    directory = data_dir / "kafka"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = open_log(directory / "log")
    # Java splits a class path at colons, so give it a relative path: ours may contain one.
    os.chdir(directory)
    _link(Path("libraries"), PROGRAMS)
    lines = [f"{name}={value}\n" for name, value in properties(port, free_port()).items()]
    Path("server.properties").write_text("".join(lines))
    if not Path("data", "meta.properties").exists():
        _format(java)
    die_with_parent(SIGTERM, parent)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execv(java, [java, *JAVA_OPTIONS, "-cp", "libraries/*", "kafka.Kafka", "server.properties"])


def _link(name: Path, target: Path) -> None:
    if not (name.is_symlink() and name.readlink() == target):
        name.unlink(missing_ok=True)
        name.symlink_to(target)


def _format(java: str) -> None:
    # Remove what an interrupted start left behind.
    shutil.rmtree("data", ignore_errors=True)
    command = [java, *JAVA_OPTIONS, "-cp", "libraries/*", "kafka.tools.StorageTool"]
    done = subprocess.run(
        [*command, "format", "--cluster-id", CLUSTER_ID, "--config", "server.properties"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise KafkaError(f"Kafka's storage cannot be created: {reason}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m devstack.embedded_kafka")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    try:
        become_broker(options.data_dir.resolve(), options.port)
    except KafkaError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"Kafka cannot be started: {error}")


if __name__ == "__main__":
    main()
