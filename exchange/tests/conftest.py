"""Fixtures of the exchange's tests, none of which needs Django or a database."""

import asyncio
import inspect
from collections.abc import Callable, Iterator

import pytest

from exchange.testing import SimulatorProcess


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}))
    return True


@pytest.fixture
def start_simulator(tmp_path) -> Iterator[Callable[..., SimulatorProcess]]:
    """Start simulators with options; all of them end with the test."""
    started: list[SimulatorProcess] = []

    def start(**options: float) -> SimulatorProcess:
        simulator = SimulatorProcess(tmp_path / "exchange", **options)
        started.append(simulator)
        simulator.start()
        return simulator

    yield start
    for simulator in started:
        simulator.stop()


@pytest.fixture(scope="module")
def shared_simulator(tmp_path_factory) -> Iterator[SimulatorProcess]:
    """One simulator without faults for all tests of a module, which use their own order ids and leave its options alone."""
    with SimulatorProcess(tmp_path_factory.mktemp("exchange")) as simulator:
        yield simulator
