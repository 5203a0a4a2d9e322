"""Measures the processor time that one order costs each role, executions included: the basis of docs/scaling.md.

    python -m benchmarks.unit_costs [--transport kafka] [--orders 3000]

Unlike rates, processor time hardly depends on what else the machine is doing. Processes that end during the run are not
counted, so a role that restarts appears too cheap.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import psutil
import psycopg

from benchmarks.children import Children, is_listening, run
from benchmarks.measures.resting import is_ready
from devstack import local_install
from devstack.free_ports import free_port

CLIENTS = 4
READY_S = 60.0
SETTLED_S = 300.0
# A part of the command line, and the role that it stands for. The first match counts.
ROLES = {
    "kafka.Kafka": "Kafka",
    "postgres": "PostgreSQL",
    "granian": "web",
    "qcluster": "workers",
    "run_exchange_consumer": "exchange consumers",
    "run_update_consumer": "update consumer",
    "run_update_recorder": "update recorders",
    "run_outbox_relay": "outbox relay",
    "run_notification_service": "notification service",
    "run_sweep": "sweep",
    "run_exchange_simulator": "simulated exchange",
}
SETTLED = "SELECT count(*) FILTER (WHERE execution_status = 'filled'), (SELECT count(*) FROM orders_orderevent) FROM orders_order"


def processor_seconds(pid: int) -> dict[str, float]:
    """The processor seconds of all descendants of `pid`, by role."""
    used: defaultdict[str, float] = defaultdict(float)
    for process in psutil.Process(pid).children(recursive=True):
        try:
            command = " ".join(process.cmdline())
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        for part, role in ROLES.items():
            if part in command:
                used[role] += times.user + times.system
                break
    return used


def post(port: int, token: str, numbers: range) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", "Authorization": f"Token {token}"}
    for number in numbers:
        order = {"type": "market", "side": "buy", "instrument": "AAPL_2025_03", "quantity": 100, "client_order_id": f"c{number}"}
        connection.request("POST", "/orders", json.dumps(order), headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202, answer.status


def measure(directory: Path, transport: str, orders: int) -> tuple[dict[str, float], int]:
    """Processor seconds of each role, and the number of events, for `orders` orders from the request to the last fill."""
    ports = {name: free_port() for name in ("WEB_PORT", "NOTIFICATIONS_PORT", "EXCHANGE_PORT")}
    ports["KAFKA_PORT"] = free_port()
    environment = {name: str(port) for name, port in ports.items()}
    environment |= {"DATA_DIR": str(directory / "data"), "ANONYMOUS_ACCOUNT": "demo", "ORDER_TRANSPORT": transport}
    environment |= dict.fromkeys(("DATABASE_URL", "SECRET_KEY", "EXCHANGE_URL", "KAFKA_BOOTSTRAP_SERVERS"), "")
    with Children(directory / "logs") as children:
        system = children.start("up", [sys.executable, "manage.py", "up"], environment)
        listening = [ports[name] for name in ("NOTIFICATIONS_PORT", "EXCHANGE_PORT")]
        children.wait_until(lambda: is_ready(ports["WEB_PORT"]) and all(map(is_listening, listening)), "ready", READY_S)
        children.start("watch", [sys.executable, "manage.py", "watch_orders", "--json"], environment)
        with psycopg.connect(local_install.load(directory / "data").postgres_url, autocommit=True) as database:

            def filled_and_events() -> tuple[int, int]:
                return database.execute(SETTLED).fetchone()  # type: ignore[return-value]

            # The first orders pay for connections and caches.
            token = run([sys.executable, "manage.py", "create_token", "demo"], within_s=READY_S, environment=environment).strip()
            post(ports["WEB_PORT"], token, range(-100, 0))
            children.wait_until(lambda: filled_and_events()[0] == 100, "warmed up", READY_S)
            time.sleep(2)
            before, events = processor_seconds(system.pid), filled_and_events()[1]
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(partial(post, ports["WEB_PORT"], token), [range(n, orders, CLIENTS) for n in range(CLIENTS)]))
            children.wait_until(lambda: filled_and_events()[0] == orders + 100, "all are filled", SETTLED_S)
            after = processor_seconds(system.pid)
            return {role: after[role] - before[role] for role in after}, filled_and_events()[1] - events


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unit_costs", description=__doc__)
    parser.add_argument("--transport", choices=["django_q", "kafka"], default="django_q")
    parser.add_argument("--orders", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        used, events = measure(Path(directory), options.transport, options.orders)
    print(f"{options.transport}: {options.orders} orders, {events} events\n")  # noqa: T201 - it is what this program is for
    print("| role | ms of processor time for one order |\n|---|---|")  # noqa: T201
    for role, seconds in sorted(used.items(), key=lambda item: -item[1]):
        print(f"| {role} | {1000 * seconds / options.orders:.2f} |")  # noqa: T201
    print(f"| together | {1000 * sum(used.values()) / options.orders:.2f} |")  # noqa: T201


if __name__ == "__main__":
    main()
