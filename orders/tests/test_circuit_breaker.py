from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from exchange.gateway import Acknowledged, NotFound, PlacementOutcome, Refused, Unavailable, Unknown
from orders.models import Order, PlacementWorker
from orders.order_entry.service import NewOrder, accept_orders
from orders.placement.attempts import finish_overdue_orders, record
from orders.placement.circuit_breaker import Breaker, Source
from orders.states import Status
from testsupport.placement import POLICY, claim_one, execute_at, let_time_pass, run_loop
from testsupport.simulator_process import SimulatorProcess

BUSY = Unavailable("busy")
NO_CONNECTION = Unavailable("refused", exchange_is_unavailable=True)
TAKEN = Acknowledged("X1")
A, B, C = Source("AAPL_2025_03", 1), Source("TSLA_2025_06", 1), Source("GOOG_2025_09", 1)
OTHERS = Source("AAPL_2025_03", 2)
OFFLINE = Source("OFFLINE_____", 1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(breaker: Breaker, *answers: tuple[Source, PlacementOutcome]) -> Breaker:
    for source, outcome in answers:
        breaker.saw(source, outcome, breaker.clock())
    return breaker


def opened(clock: Clock, outcome: Unavailable = NO_CONNECTION) -> Breaker:
    breaker = told(Breaker(clock=clock), *[(A, NO_CONNECTION)] * 4, (B, Unavailable(outcome.reason, outcome.retry_after_s, True)))
    assert breaker.is_open
    return breaker


@pytest.mark.parametrize(
    ("answers", "is_open"),
    [
        pytest.param([(A, BUSY)] * 10, False, id="one busy order, or many in one instrument"),
        pytest.param([(OFFLINE, BUSY)] * 100, False, id="a magic instrument alone"),
        pytest.param([(OFFLINE, BUSY)] * 100 + [(A, BUSY)], False, id="a magic instrument, and one other by chance"),
        pytest.param([(OFFLINE, BUSY), (OFFLINE, BUSY), (A, TAKEN)] * 50, False, id="a magic instrument while others are taken"),
        pytest.param([(OFFLINE, BUSY), (A, BUSY), (A, Refused("no"))] * 50, False, id="others are refused"),
        pytest.param([(A, BUSY), (B, BUSY)] * 4, False, id="eight in a row"),
        pytest.param([(A, BUSY), (B, BUSY)] * 5, True, id="ten in a row, in two instruments of the one account that there is"),
        pytest.param([(A, BUSY)] * 30 + [(B, BUSY)] * 4, False, id="nearly all in one instrument"),
        pytest.param([(A, BUSY)] * 30 + [(B, BUSY), (C, BUSY)] * 3, True, id="mostly in one instrument"),
        pytest.param([(A, BUSY)] * 9 + [(B, TAKEN)] + [(C, BUSY)] * 9, False, id="taken in between"),
        pytest.param([(A, BUSY), (B, BUSY), (A, Unknown("?"))] * 5, True, id="answers that say nothing in between"),
        pytest.param([(OTHERS, TAKEN), *[(A, BUSY), (B, BUSY)] * 50], False, id="one account of several"),
        pytest.param([(OTHERS, TAKEN), (OTHERS, BUSY), *[(A, BUSY), (B, BUSY)] * 5], True, id="several accounts"),
        pytest.param([(A, NO_CONNECTION)] * 4, False, id="four without a connection"),
        pytest.param([(A, NO_CONNECTION)] * 5, True, id="no connection at all, whatever the instrument"),
        pytest.param([(A, NO_CONNECTION)] * 4 + [(A, BUSY), (A, NO_CONNECTION)], False, id="a connection in between"),
        pytest.param([(A, NO_CONNECTION)] * 5 + [(A, Unknown("timeout"))], True, id="silence does not say that it is back"),
        pytest.param([(A, NO_CONNECTION)] * 5 + [(A, TAKEN)], False, id="it is back"),
    ],
)
def test_an_outage_is_what_no_order_instrument_or_account_explains(
    answers: list[tuple[Source, PlacementOutcome]], is_open: bool
) -> None:
    assert told(Breaker(), *answers).is_open is is_open


def test_an_account_that_was_alone_for_a_minute_is_enough() -> None:
    clock = Clock()
    breaker = told(Breaker(clock=clock), (OTHERS, TAKEN), (A, TAKEN))
    clock.now = 61.0
    assert told(breaker, *[(A, BUSY), (B, BUSY)] * 5).is_open


def test_one_probe_at_a_time_goes_to_an_exchange_that_is_away() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert breaker.allow(200) == 0
    clock.now = 1.0
    assert [breaker.allow(0), breaker.allow(200), breaker.allow(200)] == [0, 1, 0], "a probe that cannot start is not spent"
    clock.now = 2.0
    breaker.saw(A, NotFound(), began_at=1.0)
    assert breaker.allow(200) == 200


def test_a_probe_waits_for_as_long_as_the_exchange_wishes() -> None:
    clock = Clock()
    breaker = opened(clock, Unavailable("closed", retry_after_s=30.0))
    clock.now = 29.9
    assert breaker.allow(200) == 0
    clock.now = 30.0
    assert breaker.allow(200) == 1
    told(breaker, (A, Unavailable("closed", retry_after_s=10.0)))
    clock.now = 39.9
    assert breaker.allow(200) == 0
    clock.now = 40.0
    assert breaker.allow(200) == 1


def test_what_was_under_way_when_the_exchange_went_away_does_not_say_that_it_is_back() -> None:
    clock = Clock()
    clock.now = 5.0
    breaker = opened(clock)
    breaker.saw(A, TAKEN, began_at=4.9)
    assert breaker.is_open
    breaker.saw(A, TAKEN, began_at=5.1)
    assert not breaker.is_open


def accept_many(account: Any, count: int, *instruments: str) -> list[str]:
    asked = [NewOrder("market", "buy", instruments[number % len(instruments)], 1) for number in range(count)]
    return [str(accept_orders(account.pk, [one]).orders[0].id) for one in asked]


def begin_outage(simulator: SimulatorProcess, account: Any) -> Breaker:
    """Close the exchange and place 20 orders of two instruments, until the breaker that is returned has opened."""
    simulator.control(close=True)
    accept_many(account, 20, "AAPL_2025_03", "TSLA_2025_06")
    breaker = Breaker(probe_interval_s=0.1)
    run_loop(simulator.url, breaker=breaker, is_stopping=lambda: breaker.is_open)
    return breaker


@pytest.mark.django_db(transaction=True)
def test_a_backlog_is_not_spent_on_an_exchange_that_is_away_and_drains_when_it_is_back(
    simulator: SimulatorProcess, account: Any
) -> None:
    simulator.kill()
    accept_many(account, 60, "AAPL_2025_03")
    breaker = told(Breaker(), *[(A, NO_CONNECTION)] * 5)
    breaker.next_probe_at = 0.0
    assert run_loop(simulator.url, breaker=breaker, run_for_s=0.5) == 1
    assert Order.objects.filter(attempt_count=0).count() == 59
    simulator.start()
    breaker.next_probe_at = 0.0
    run_loop(simulator.url, breaker=breaker)
    assert Order.objects.filter(status=Status.COMPLETED).count() == 60


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("concurrency", [1, 20])
def test_after_an_outage_orders_go_out_in_the_order_in_which_they_were_accepted(
    simulator: SimulatorProcess, account: Any, concurrency: int
) -> None:
    one_by_one = replace(POLICY, concurrency=concurrency)
    breaker = Breaker(probe_interval_s=0.1)
    simulator.control(close=True)
    accepted = accept_many(account, 60, "AAPL_2025_03", "TSLA_2025_06", "GOOG_2025_09")
    run_loop(simulator.url, one_by_one, breaker, run_for_s=60.0, is_stopping=lambda: len(breaker.probed) > 1)
    assert breaker.is_open
    tried = Order.objects.filter(attempt_count__gt=0)
    assert 10 <= tried.count() < 50
    assert not Order.objects.filter(next_attempt_at__gt=timezone.now()).exists(), "nobody waits for a pause of their own"
    accepted += accept_many(account, 10, "MSFT_2025_12", "AAPL_2025_03")
    simulator.control(open=True)
    run_loop(simulator.url, replace(POLICY, concurrency=1), breaker, run_for_s=90.0)
    arrived = list(simulator.book())
    assert set(arrived) == set(accepted)
    # The probe that was taken may be the oldest of another instrument.
    probe = arrived.pop(0)
    accepted.remove(probe)
    assert arrived == accepted


@pytest.mark.django_db(transaction=True)
def test_what_waited_for_another_workers_pause_goes_out_in_its_place(simulator: SimulatorProcess, account: Any) -> None:
    [first] = accept_many(account, 1, "AAPL_2025_03")
    # Of another worker, which had too few to see that the exchange was unavailable.
    record([replace(execute_at(claim_one(), simulator.url), outcome=Unavailable("closed", retry_after_s=300.0))], POLICY)
    others = accept_many(account, 5, "TSLA_2025_06")
    breaker = told(Breaker(), *[(A, NO_CONNECTION)] * 5)
    breaker.next_probe_at = 0.0
    run_loop(simulator.url, replace(POLICY, concurrency=1), breaker)
    assert list(simulator.book()) == [first, *others]


@pytest.mark.django_db(transaction=True)
def test_a_magic_instrument_keeps_up_nobody(simulator: SimulatorProcess, account: Any) -> None:
    accept_many(account, 30, "OFFLINE_____")
    breaker = Breaker()
    run_loop(simulator.url, breaker=breaker)
    assert not breaker.is_open
    [good] = accept_many(account, 1, "AAPL_2025_03")
    run_loop(simulator.url, breaker=breaker)
    assert list(simulator.book()) == [good]


@pytest.mark.django_db(transaction=True)
def test_after_an_outage_the_oldest_order_is_no_obstacle_when_it_is_never_taken(
    simulator: SimulatorProcess, account: Any
) -> None:
    bad = accept_many(account, 5, "OFFLINE_____")
    good = accept_many(account, 5, "AAPL_2025_03")
    breaker = told(Breaker(probe_interval_s=0.1), *[(OFFLINE, NO_CONNECTION)] * 5)
    run_loop(simulator.url, breaker=breaker, run_for_s=60.0, is_stopping=lambda: len(simulator.book()) == 5)
    assert not breaker.is_open
    assert sorted(simulator.book()) == good
    assert set(Order.objects.filter(id__in=bad).values_list("status", flat=True)) == {Status.PENDING}


@pytest.mark.django_db(transaction=True)
def test_nothing_is_kept_for_longer_than_its_time(simulator: SimulatorProcess, account: Any) -> None:
    breaker = begin_outage(simulator, account)
    assert breaker.is_open
    let_time_pass(901)
    simulator.control(open=True)
    assert run_loop(simulator.url, breaker=breaker, run_for_s=0.5) == 0
    assert finish_overdue_orders() == 20
    assert set(Order.objects.values_list("status", flat=True)) == {Status.FAILED}


@pytest.mark.django_db(transaction=True)
def test_a_worker_says_that_it_waits_for_the_exchange_and_that_this_is_over(simulator: SimulatorProcess, account: Any) -> None:
    breaker = begin_outage(simulator, account)
    worker = PlacementWorker.objects.get()
    assert worker.problem == breaker.problem
    assert "the exchange is closed" in breaker.problem
    assert worker.paused_until is not None
    simulator.control(open=True)
    run_loop(simulator.url, breaker=breaker)
    assert PlacementWorker.objects.filter(problem__isnull=True, paused_until__isnull=True).count() == 1
