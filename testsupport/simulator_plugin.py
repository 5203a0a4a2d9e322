"""A pytest plugin: the simulated exchange as a process, for tests of every package. It needs neither Django nor a database.

The fixture `simulator` is one without latency and faults, for one test. The marker of that name changes this for a test or a
module:

    @pytest.mark.simulator(latency=0.1)  # starts it with these options
    @pytest.mark.simulator(shared=True)  # all tests of the module with the same options share one, and none may end it
"""

from collections.abc import Callable, Iterator

import pytest

from testsupport.simulator_process import SimulatorProcess

Start = Callable[..., SimulatorProcess]


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[SimulatorProcess]:
    marker = request.node.get_closest_marker("simulator")
    options = dict(marker.kwargs) if marker else {}
    if not options.pop("shared", False):
        yield request.getfixturevalue("start_simulator")(**options)
        return
    simulator: SimulatorProcess = request.getfixturevalue("shared_simulators")(**options)
    before = simulator.control()
    yield simulator
    simulator.control(**before, open=True)


@pytest.fixture
def start_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start simulators with options; they share one data directory and end with the test."""
    data_dir = tmp_path_factory.mktemp("exchange")
    started: list[SimulatorProcess] = []

    def start(**options: float) -> SimulatorProcess:
        simulator = SimulatorProcess(data_dir, **options)
        started.append(simulator)
        simulator.start()
        return simulator

    yield start
    for simulator in started:
        simulator.stop()


@pytest.fixture(scope="module")
def shared_simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """One simulator per set of options, until the module ends."""
    started: dict[frozenset[tuple[str, float]], SimulatorProcess] = {}

    def start(**options: float) -> SimulatorProcess:
        key = frozenset(options.items())
        if key not in started:
            started[key] = SimulatorProcess(tmp_path_factory.mktemp("exchange"), **options)
            started[key].start()
        return started[key]

    yield start
    for simulator in started.values():
        simulator.stop()
