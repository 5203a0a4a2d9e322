"""Where contenders take turns: they share one PostgreSQL and one directory, and each turn has a new exchange."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson
import psycopg

from benchmarks.children import Children
from benchmarks.contenders import WEB, Contender
from devstack import local_install
from devstack.embedded_postgres import Server
from devstack.free_ports import free_port


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured.

    `sustained_seconds` is how long Lemon Market places orders, `concurrency` how many placements a peer's worker process
    makes at once.
    """

    rounds: int
    seconds: float
    sustained_seconds: float = 60
    connections: int = 32
    concurrency: int = 300
    django_q_workers: int = 64
    large: int = 10_000_000


class Stage:
    """The shared server, with fsync and synchronous_commit on, and the ports that all turns use."""

    def __init__(self, directory: Path, options: Options) -> None:
        self.directory = directory
        self.options = options
        self.data_dir = directory / "data"
        self.install = local_install.load_with_free_port(self.data_dir)
        self.exchange_port = free_port()
        self.redis_port = free_port()
        self.server = Server(self.data_dir)

    def close(self) -> None:
        self.server.stop()

    @property
    def exchange_url(self) -> str:
        return f"http://127.0.0.1:{self.exchange_port}"

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/0"

    def database_url(self, name: str) -> str:
        return self.install.postgres_url.rpartition("/")[0].replace("postgres://", "postgresql://") + f"/{name}"

    def connect(self, name: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.database_url(name), autocommit=True)

    def make_database(self, name: str) -> None:
        """Create a database unless it exists."""
        with self.connect("postgres") as database:
            if database.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount == 0:
                database.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))

    @contextmanager
    def turn(self, contender: Contender, *services: str, exchange: bool = True, **environment: str) -> Iterator["Turn"]:
        """Run the contender's services on an empty database, with an exchange without orders; all end with the block."""
        with Children(self.directory / "logs" / contender.database) as children:
            self.empty(contender)
            if exchange:
                self._start_exchange(children)
            if contender.needs_redis:
                self._start_redis(children)
            turn = Turn(self, contender, children, {**contender.environment, **environment})
            turn.start(*services)
            yield turn

    def empty(self, contender: Contender) -> None:
        """Delete everything of earlier turns, and write out what they left to be written."""
        with self.connect(contender.database) as database:
            if contender.tables:
                names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, contender.tables))
                database.execute(psycopg.sql.SQL("TRUNCATE {} CASCADE").format(names))
            database.execute("CHECKPOINT")

    def _start_exchange(self, children: Children) -> None:
        directory = self.directory / "exchange"
        shutil.rmtree(directory, ignore_errors=True)
        arguments = [f"--port={self.exchange_port}", f"--data-dir={directory}"]
        children.start("exchange", [sys.executable, "-m", "exchange.simulator", *arguments])
        children.wait_for_port(self.exchange_port)

    def _start_redis(self, children: Children) -> None:
        # As Debian configures it, but without snapshots: nothing is written to disk, which is to its advantage.
        options = ["--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", ""]
        children.start("redis", ["redis-server", *options], cwd=self.directory)
        children.wait_for_port(self.redis_port)


@dataclass(frozen=True, slots=True)
class Turn:
    """A running contender."""

    stage: Stage
    contender: Contender
    children: Children
    environment: dict[str, str]

    def start(self, *services: str) -> None:
        for name in services:
            for number, command in enumerate(self.contender.services[name]):
                self.children.start(f"{name}-{number}", command, self.environment, self.contender.directory)
        if WEB in services:
            self.children.wait_for_port(self.contender.web_port)

    def database(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return self.stage.connect(self.contender.database)

    def control_exchange(self, **wishes: float) -> None:
        """Change options of the simulated exchange."""
        request = Request(self.stage.exchange_url + "/control", orjson.dumps(wishes))  # noqa: S310 - http it is
        with urlopen(request, timeout=10):  # noqa: S310
            pass

    def orders_at_exchange(self) -> int:
        with urlopen(self.stage.exchange_url + "/health", timeout=10) as answer:  # noqa: S310
            return int(orjson.loads(answer.read())["orders"])

    def received_at(self) -> dict[str, float]:
        """When the exchange took each order (Unix seconds), by the id under which it was sent."""
        with urlopen(self.stage.exchange_url + "/book", timeout=60) as lines:  # noqa: S310
            return {order["client_order_id"]: order["received_at"] for order in map(orjson.loads, lines)}
