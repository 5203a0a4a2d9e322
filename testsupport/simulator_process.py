"""The simulated exchange as a real process under a test's control: start, kill, freeze, restart, and read its book."""

import json
import signal
import subprocess
import sys
from http.client import HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import Request, urlopen

REQUEST_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
REPOSITORY = Path(__file__).resolve().parent.parent


class SimulatorError(Exception):
    """The simulator did not start, or refused a request; the text is its own."""


class SimulatorProcess:
    """`python -m exchange.simulator` on a free port; restarts keep the port and the data directory.

    Options are those of its command line with underscores (`latency=0.5`, `cut_rate=0.1`, `retention=50`). By default it has
    no latency and no faults. Use it as a context manager, or call `start` and `stop`.
    It also ends when the test's own process ends, in whatever way.
    """

    def __init__(self, data_dir: Path, **options: float | int) -> None:
        self.data_dir = data_dir
        self.port = int(options.pop("port", 0))
        self.options = {"latency": 0, "unavailable_rate": 0, "seed": 1} | options
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """The base address, as in EXCHANGE_URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running simulator's process id."""
        return self._running().pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it answers. Raises SimulatorError when it does not start."""
        if self._process is not None:
            raise SimulatorError("the simulator runs already")
        options = self.options | {"port": self.port, "data_dir": self.data_dir}
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        process = subprocess.Popen(
            [sys.executable, "-m", "exchange.simulator", "--until-stdin-closes", *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # It prints one line once it listens; otherwise it closes its output without printing.
        line = process.stdout.readline() if process.stdout is not None else ""
        self._process = process
        if "listening on" not in line:
            exit_code = process.wait(STOP_TIMEOUT_S)
            self._forget()
            raise SimulatorError(f"the simulator ended with exit code {exit_code}; stderr says why")
        self.port = int(line.rsplit(":", 1)[1])

    def stop(self) -> int:
        """End it with SIGTERM, even when it is frozen; returns its exit code, 0 when it does not run."""
        if self._process is None:
            return 0
        self.thaw()
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._running()
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again on the same port with the same data."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop it with SIGSTOP: its connections stay open and nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it after `freeze`."""
        self._running().send_signal(signal.SIGCONT)

    def control(self, **wishes: float | bool) -> dict[str, float]:
        """Change options while it runs (also `cut_feed`, `new_session`, `close` and `open`, each `=True`); returns all options.

        Raises SimulatorError with its answer when it rejects them.
        """
        return self._read_json("/control", json.dumps(wishes).encode())

    def health(self) -> dict[str, Any]:
        """Its session id, last sequence and number of orders."""
        return self._read_json("/health")

    def book(self) -> dict[str, dict[str, Any]]:
        """Every order in its book, by client_order_id, with terms, state, totals, `times_received` and the lies about it."""
        with self._open("/book") as response:
            return {order["client_order_id"]: order for order in map(json.loads, response)}

    def _read_json(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        try:
            with self._open(path, body) as response:
                document: dict[str, Any] = json.load(response)
                return document
        except HTTPError as error:
            raise SimulatorError(f"{error.code}: {error.read().decode(errors='replace')}") from error

    def _open(self, path: str, body: bytes | None = None) -> HTTPResponse:
        request = Request(self.url + path, body, {"Content-Type": "application/json"})
        response: HTTPResponse = urlopen(request, timeout=REQUEST_TIMEOUT_S)
        return response

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise SimulatorError("the simulator does not run")
        return self._process

    def _end(self, number: signal.Signals) -> int:
        process = self._running()
        process.send_signal(number)
        try:
            exit_code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            exit_code = process.wait()
        self._forget()
        return exit_code

    def _forget(self) -> None:
        process, self._process = self._running(), None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
