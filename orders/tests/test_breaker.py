from collections.abc import Callable
from pathlib import Path

import pytest

from exchange.testing import SimulatorProcess
from orders.breaker import Breaker
from orders.models import Order
from orders.states import Status
from orders.tests.conftest import let_time_pass
from orders.tests.working import run_loop


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_everything_may_go_while_the_exchange_answers() -> None:
    breaker = Breaker(threshold=2)
    breaker.exchange_was_away()
    breaker.exchange_answered()
    breaker.exchange_was_away()
    assert breaker.allow(200) == 200


def test_one_probe_at_a_time_goes_to_an_exchange_that_is_away() -> None:
    clock = Clock()
    breaker = Breaker(threshold=2, probe_interval_s=1.0, clock=clock)
    breaker.exchange_was_away()
    breaker.exchange_was_away()
    assert [breaker.allow(200), breaker.allow(200)] == [1, 0]
    clock.now = 0.9
    assert breaker.allow(200) == 0
    clock.now = 1.0
    assert [breaker.allow(0), breaker.allow(200)] == [0, 1], "a probe that cannot start is not spent"
    breaker.exchange_answered()
    assert breaker.allow(200) == 200


@pytest.mark.django_db(transaction=True)
def test_a_backlog_is_not_spent_on_an_exchange_that_is_away_and_drains_when_it_is_back(
    tmp_path: Path, accept: Callable[..., Order]
) -> None:
    with SimulatorProcess(tmp_path) as simulator:
        simulator.kill()
        for _ in range(60):
            accept()
        breaker = Breaker(threshold=5)
        for _ in range(5):
            breaker.exchange_was_away()
        calls = run_loop(simulator.url, breaker=breaker, run_for_s=0.5)
        assert calls == 1
        assert Order.objects.filter(attempt_count=0).count() == 59
        simulator.start()
        breaker.next_probe_at = 0.0
        let_time_pass(61)
        run_loop(simulator.url, breaker=breaker)
        assert Order.objects.filter(status=Status.COMPLETED).count() == 60
