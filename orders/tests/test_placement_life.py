"""A random walk over the life of orders: the order rows, their events and the exchange's book are held against each other.

Everything is real but the exchange, which is a dictionary here so that a run can hold back, lose and delay whatever it
likes. Time does not pass: every stored time is moved into the past instead.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from exchange import gateway as venue
from exchange.gateway import Placement
from orders.models import Halt, Order, OrderEvent
from orders.order_entry.service import NewOrder, accept_orders
from orders.placement.attempts import Claim, Result, Step, claim_due_orders, finish_overdue_orders, record
from orders.placement.manual_retry import retry_orders
from orders.risk.switches import halt_trading, release_orders, resume_trading
from orders.states import Status
from testsupport.placement import POLICY, execute_with, let_time_pass

# The exchange's clock is behind ours, by less than the margin that we allow for.
EXCHANGE_IS_BEHIND = timedelta(seconds=POLICY.clock_margin_s * 0.9)
ORDER_TIMES = ("next_attempt_at", "claimed_until", "give_up_at", "sent_valid_until")
# Shrinking a failure takes minutes here; the blob that is printed repeats it as it is.
PHASES = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
FATES = ("acknowledge", "refuse", "unavailable", "take without answer", "lose", "delay")


class PaperExchange:
    """A gateway whose next answer the test chooses."""

    def __init__(self) -> None:
        self.book: dict[str, str] = {}
        self.on_the_way: list[Placement] = []
        self.repeats = 0
        self.fate = "acknowledge"
        self.look_up_works = True

    def take(self, placement: Placement) -> bool:
        if timezone.now() - EXCHANGE_IS_BEHIND > placement.valid_until:
            return False
        self.repeats += placement.client_order_id in self.book
        self.book.setdefault(placement.client_order_id, f"X{len(self.book)}")
        return True

    async def place(self, placement: Placement) -> venue.PlacementOutcome:
        match self.fate:
            case "refuse":
                return venue.Refused("no")
            case "delay":
                self.on_the_way.append(placement)
                return venue.Unknown("timeout")
            case "take without answer" | "acknowledge":
                if not self.take(placement):
                    return venue.Unavailable("valid_until has passed")
                if self.fate == "acknowledge":
                    return venue.Acknowledged(self.book[placement.client_order_id])
                return venue.Unknown("timeout")
            case "lose":
                return venue.Unknown("cut")
        return venue.Unavailable("busy")

    async def look_up(self, placement: Placement) -> venue.LookUpOutcome:
        if not self.look_up_works:
            return venue.Unknown("timeout")
        if placement.client_order_id in self.book:
            return venue.Found(self.book[placement.client_order_id], "new", 0, None, "s1", 1)
        return venue.NotFound()

    async def cancel(self, client_order_id: str) -> venue.CancelOutcome:
        raise AssertionError("nothing is canceled here")

    async def close(self) -> None: ...


class LifeOfOrders(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        OrderEvent.objects.all().delete()
        Order.objects.all().delete()
        Halt.objects.all().delete()
        self.halted: list[Any] = []
        self.account, _ = get_user_model().objects.get_or_create(username="anna")
        self.exchange = PaperExchange()
        self.claims: list[Claim] = []
        self.results: list[Result] = []

    @precondition(lambda self: not self.halted)
    @rule()
    def accept(self) -> None:
        accept_orders(self.account.pk, [NewOrder("market", "buy", "AAPL_2025_03", 100)])

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        claims = claim_due_orders(limit, POLICY)
        assert not (self.halted and [claim for claim in claims if claim.step is Step.SEND])
        self.claims += claims

    @precondition(lambda self: len(self.halted) < 2)
    @rule()
    def trading_is_halted(self) -> None:
        """For all, or for the one account that there is; or both."""
        scope = None if None not in self.halted else self.account
        halt_trading("desk", "odd prices", account=scope)
        self.halted.append(scope)

    @precondition(lambda self: self.halted)
    @rule(which=st.integers(0, 1))
    def trading_goes_on(self, which: int) -> None:
        resume_trading("desk", "explained", account=self.halted.pop(which % len(self.halted)))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), fate=st.sampled_from(FATES), look_up_works=st.booleans(), recorded_at_once=st.booleans())
    def call_the_exchange(self, data: Any, fate: str, look_up_works: bool, recorded_at_once: bool) -> None:
        claim = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        self.exchange.fate, self.exchange.look_up_works = fate, look_up_works
        result = execute_with(self.exchange, claim)
        if recorded_at_once:
            record([result], POLICY)
        else:
            self.results.append(result)

    @precondition(lambda self: self.results)
    @rule(data=st.data())
    def record_some(self, data: Any) -> None:
        count = data.draw(st.integers(1, len(self.results)))
        recorded, self.results = self.results[:count], self.results[count:]
        record(recorded, POLICY)

    @precondition(lambda self: self.claims or self.results)
    @rule()
    def crash(self) -> None:
        self.claims, self.results = [], []

    @precondition(lambda self: self.exchange.on_the_way)
    @rule(arrives=st.booleans())
    def delayed_send_ends(self, arrives: bool) -> None:
        placement = self.exchange.on_the_way.pop(0)
        if arrives:
            self.exchange.take(placement)

    @rule(seconds=st.sampled_from([1, 6, 20, 61, 901]))
    def time_passes(self, seconds: int) -> None:
        past = timedelta(seconds=seconds)
        let_time_pass(seconds)
        self.claims = [earlier(claim, past) for claim in self.claims]
        self.results = [
            replace(
                result,
                claim=earlier(result.claim, past),
                started_at=result.started_at - past,
                sent_valid_until=result.sent_valid_until and result.sent_valid_until - past,
            )
            for result in self.results
        ]
        sends = self.exchange.on_the_way
        self.exchange.on_the_way = [replace(send, valid_until=send.valid_until - past) for send in sends]

    @rule()
    def sweep(self) -> None:
        release_orders()
        finish_overdue_orders()

    @precondition(lambda self: Order.objects.filter(status__in=["failed", "error"]).exists())
    @rule()
    def a_person_retries(self) -> None:
        failed = Order.objects.filter(status__in=["failed", "error"]).first()
        assert failed is not None
        retry_orders([failed.id], requested_by="desk")

    @invariant()
    def nothing_is_sent_again_while_it_may_be_there(self) -> None:
        assert self.exchange.repeats == 0

    @invariant()
    def rows_events_and_book_agree(self) -> None:
        now = timezone.now()
        can_still_arrive = {send.client_order_id for send in self.exchange.on_the_way if self.could_be_taken(send, now)}
        for order in Order.objects.prefetch_related("events"):
            types = [event.type for event in order.events.all()]
            booked = self.exchange.book.get(str(order.id))
            assert types[0] == "accepted"
            assert types.count("placed") == (order.status == Status.COMPLETED)
            if order.status == Status.COMPLETED:
                assert order.exchange_order_id == booked
            elif order.status == Status.FAILED:
                assert booked is None
                assert str(order.id) not in can_still_arrive
                assert types[-1] == "failed"
            elif booked is not None:
                assert order.may_be_at_exchange, "it is there, and a crash now would send it again"

    def could_be_taken(self, send: Placement, now: datetime) -> bool:
        return now - EXCHANGE_IS_BEHIND <= send.valid_until

    def teardown(self) -> None:
        if not hasattr(self, "exchange"):
            return
        self.crash()
        while self.halted:
            self.trading_goes_on(0)
        self.exchange.on_the_way.clear()
        self.exchange.fate, self.exchange.look_up_works = "acknowledge", True
        for _ in range(6):
            self.time_passes(61)
            self.sweep()
            record([execute_with(self.exchange, claim) for claim in claim_due_orders(100, POLICY)], POLICY)
            self.rows_events_and_book_agree()
        assert not Order.objects.filter(next_attempt_at__isnull=False).exists(), "everything is settled in the end"
        assert set(Order.objects.values_list("status", flat=True)) <= {Status.COMPLETED, Status.FAILED}
        assert Order.objects.filter(status=Status.COMPLETED).count() == len(self.exchange.book)


def earlier(claim: Claim, past: timedelta) -> Claim:
    for name in ORDER_TIMES:
        moment = getattr(claim.order, name)
        setattr(claim.order, name, moment and moment - past)
    return replace(claim, claimed_until=claim.claimed_until - past)


@pytest.mark.django_db
def test_whatever_happens_nothing_is_lost_or_doubled() -> None:
    run_state_machine_as_test(
        LifeOfOrders,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
