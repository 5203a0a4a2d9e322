"""Orders of different threads that are stored together: what one of them meets, and what the others do not notice of it."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, connections

from infrastructure.database.base import QueryBudget, query_budget, query_timeout
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.parameters import connection_parameters
from orders.models import Order
from orders.order_entry import group_commit
from orders.order_entry import service as accepting
from orders.order_entry.group_commit import STORE_AT_ONCE, GroupCommit, PendingInsert, Waiter, parameters, store_requests
from orders.order_entry.service import NewOrder, accept_orders
from testsupport.api_calls import stored

pytestmark = pytest.mark.django_db(transaction=True)

MARKET = NewOrder("market", "buy", "AAPL_2025_03", 100)
Accepted = accepting.Accepted
Store = Callable[[Sequence[PendingInsert]], set[uuid.UUID]]
WAIT_S = 30


class Meeting:
    """Holds the first batch, of one, until everybody else has come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commit = GroupCommit()
        self.groups: list[int] = []
        self.holds_next = False
        self.may_go_on = threading.Event()
        self.leads = threading.Event()
        self.really_store: Store = group_commit.store_requests
        monkeypatch.setattr(group_commit, "group_commit", self.commit)
        monkeypatch.setattr(group_commit, "store_requests", self.store)
        self.pool = ThreadPoolExecutor(100)

    def store(self, requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
        self.groups.append(len(requests))
        if self.holds_next:
            self.holds_next = False
            self.leads.set()
            assert self.may_go_on.wait(WAIT_S)
        return self.really_store(requests)

    def accept(self, account: User, requested: NewOrder, patience_s: float = WAIT_S) -> Future[Accepted]:
        def accept_and_leave() -> Accepted:
            try:
                with query_timeout(patience_s):
                    return accept_orders(account.pk, [requested])
            finally:
                connections.close_all()

        return self.pool.submit(accept_and_leave)

    def begin(self, account: User) -> Future[Accepted]:
        """One order leads, and waits for the others."""
        self.holds_next = True
        first = self.accept(account, MARKET)
        assert self.leads.wait(WAIT_S)
        return first

    def all_wait(self, count: int) -> None:
        """Returns when so many others stand behind the first."""
        done = threading.Event()
        for _ in range(WAIT_S * 1000):
            with self.commit.lock:
                if len(self.commit.waiting) == count:
                    return
            done.wait(0.001)
        raise AssertionError(f"{len(self.commit.waiting)} wait instead of {count}")

    def go_on(self) -> None:
        self.may_go_on.set()


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    meeting = Meeting(monkeypatch)
    yield meeting
    meeting.go_on()
    meeting.pool.shutdown()


@pytest.fixture
def bert(account: User) -> User:
    return User.objects.create_user("bert")


def writers() -> int:
    """How many transactions have written the orders."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT xmin::text) FROM orders_order")
        [count] = cursor.fetchone()
    return int(count)


def test_who_comes_while_others_are_stored_is_stored_with_all_who_wait(meeting: Meeting, account: User, bert: User) -> None:
    first = meeting.begin(account)
    others = [meeting.accept(who, MARKET) for who in [account, bert] * 5]
    meeting.all_wait(10)
    meeting.go_on()
    accepted = [waiting.result(WAIT_S) for waiting in [first, *others]]
    assert meeting.groups == [1, 10]
    assert writers() == 2
    assert [answer.orders[0].account_id for answer in accepted] == [account.pk] + [account.pk, bert.pk] * 5
    assert {answer.orders[0].id for answer in accepted} == set(Order.objects.values_list("id", flat=True))
    # One wake-up is enough for those of a batch.
    assert stored() == {"orders": 11, "events": 11, "wake_ups": 2}


def test_a_group_is_not_larger_than_allowed(meeting: Meeting, account: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_BATCH", 4)
    first = meeting.begin(account)
    others = [meeting.accept(account, MARKET) for _ in range(10)]
    meeting.all_wait(10)
    meeting.go_on()
    for waiting in [first, *others]:
        assert not waiting.result(WAIT_S).replayed
    assert meeting.groups == [1, 4, 4, 2]
    assert stored()["orders"] == 11


def test_what_is_in_the_way_of_one_is_in_the_way_of_no_other(meeting: Meeting, account: User, bert: User) -> None:
    known = NewOrder("market", "sell", "AAPL_2025_03", 7, client_order_id="c1")
    [order] = accept_orders(account.pk, [known]).orders
    meeting.groups.clear()
    first = meeting.begin(account)
    again, same_id_of_another, new = (
        meeting.accept(who, what) for who, what in [(account, known), (bert, known), (bert, MARKET)]
    )
    meeting.all_wait(3)
    meeting.go_on()
    assert not first.result(WAIT_S).replayed
    assert (again.result(WAIT_S).replayed, again.result().orders[0].id) == (True, order.id)
    assert not same_id_of_another.result(WAIT_S).replayed
    assert not new.result(WAIT_S).replayed
    # Only those that nothing was in the way of.
    assert meeting.groups == [1, 3]
    assert stored()["orders"] == 4


def test_one_id_twice_in_a_group_is_one_order(meeting: Meeting, account: User) -> None:
    first = meeting.begin(account)
    twice = NewOrder("market", "sell", "AAPL_2025_03", 7, client_order_id="c1")
    others = [meeting.accept(account, requested) for requested in (twice, MARKET, twice)]
    meeting.all_wait(3)
    meeting.go_on()
    one, new, other = (waiting.result(WAIT_S) for waiting in others)
    assert not first.result(WAIT_S).replayed
    assert not new.replayed
    assert sorted([one.replayed, other.replayed]) == [False, True]
    assert one.orders[0].id == other.orders[0].id
    assert stored() == {"orders": 3, "events": 3, "wake_ups": 2}


def test_what_the_database_refuses_of_one_it_takes_of_the_others(meeting: Meeting, account: User) -> None:
    first = meeting.begin(account)
    others = [meeting.accept(account, requested) for requested in (MARKET, NewOrder("market", "buy", "AAPL_2025_03", 0), MARKET)]
    meeting.all_wait(3)
    meeting.go_on()
    assert not first.result(WAIT_S).replayed
    assert not others[0].result(WAIT_S).replayed
    with pytest.raises(IntegrityError, match="quantity_positive"):
        others[1].result(WAIT_S)
    assert not others[2].result(WAIT_S).replayed
    rows = stored()
    assert (rows["orders"], rows["events"]) == (3, 3)
    # Two that are stored at the same moment each see no other's wake-up, and one too many does no harm.
    assert rows["wake_ups"] in {2, 3}


def test_when_the_database_does_not_answer_all_who_wait_hear_of_it_at_once(meeting: Meeting, account: User) -> None:
    def wait_in_vain(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
        own = query_budget()
        assert own is not None
        own.is_over = True
        raise DatabaseUnavailable("no answer")

    meeting.really_store = wait_in_vain
    first = meeting.begin(account)
    others = [meeting.accept(account, MARKET) for _ in range(5)]
    meeting.all_wait(5)
    meeting.go_on()
    for waiting in [first, *others]:
        with pytest.raises(DatabaseUnavailable, match="no answer"):
            waiting.result(WAIT_S)
    # Each of them would have waited for as long again.
    assert meeting.groups == [1]
    assert stored()["orders"] == 0


def test_a_connection_that_is_lost_concerns_its_own_thread_only(meeting: Meeting, account: User) -> None:
    really_store = meeting.really_store

    def fail_together(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
        if len(requests) > 1:
            raise DatabaseUnavailable("the connection is closed")
        return really_store(requests)

    meeting.really_store = fail_together
    first = meeting.begin(account)
    others = [meeting.accept(account, MARKET) for _ in range(5)]
    meeting.all_wait(5)
    meeting.go_on()
    assert not any(waiting.result(WAIT_S).replayed for waiting in [first, *others])
    assert meeting.groups == [1, 5, 1, 1, 1, 1, 1]
    assert stored()["orders"] == 6


@pytest.mark.parametrize("error", [DatabaseUnavailable("the connection was closed"), MemoryError()])
def test_orders_whose_answer_was_lost_after_the_commit_are_stored_once(meeting: Meeting, account: User, error: Exception) -> None:
    really_store = meeting.really_store

    def lose_the_answer(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
        done = really_store(requests)
        if len(requests) > 1:
            raise error
        return done

    meeting.really_store = lose_the_answer
    first = meeting.begin(account)
    named = NewOrder("market", "sell", "AAPL_2025_03", 7, client_order_id="c1")
    others = [meeting.accept(account, requested) for requested in (MARKET, named, MARKET)]
    meeting.all_wait(3)
    meeting.go_on()
    answers = [waiting for waiting in [first, *others] if not isinstance(waiting.exception(WAIT_S), MemoryError)]
    ids = {waiting.result(WAIT_S).orders[0].id for waiting in answers}
    # Who had the mistake is told so, and everybody else has the one order.
    assert len(ids) == len(answers) >= 3
    assert stored()["orders"] == stored()["events"] == 4
    assert ids <= set(Order.objects.values_list("id", flat=True))


def test_a_group_that_is_still_being_committed_is_not_stored_a_second_time(meeting: Meeting, account: User) -> None:
    """The connection was cut while the server waits for its disk, or for a replica."""
    with psycopg.connect(**connection_parameters()) as server:

        def cut_the_connection(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
            if len(requests) == 1:
                return store_requests(requests)
            with server.cursor() as cursor:
                cursor.execute(STORE_AT_ONCE, parameters(requests))
            raise DatabaseUnavailable("server closed the connection unexpectedly")

        meeting.really_store = cut_the_connection
        first = meeting.begin(account)
        others = [meeting.accept(account, MARKET) for _ in range(3)]
        meeting.all_wait(3)
        meeting.go_on()
        assert not first.result(WAIT_S).replayed
        for waiting in others:
            with pytest.raises(DatabaseUnavailable, match="cannot be told yet"):
                waiting.result(WAIT_S)
    assert meeting.groups == [1, 3, 1, 1, 1]
    assert stored()["orders"] == 4


def test_a_lock_on_one_account_holds_up_no_other(meeting: Meeting, account: User, bert: User) -> None:
    with psycopg.connect(**connection_parameters()) as other:
        other.execute("SELECT FROM auth_user WHERE id = %s FOR UPDATE", [account.pk])
        first = meeting.begin(bert)
        held_up, free = meeting.accept(account, MARKET), meeting.accept(bert, MARKET)
        meeting.all_wait(2)
        meeting.go_on()
        assert not first.result(WAIT_S).replayed
        assert not free.result(WAIT_S).replayed
        assert not held_up.done()
        assert set(Order.objects.values_list("account_id", flat=True)) == {bert.pk}
    assert not held_up.result(WAIT_S).replayed
    assert stored()["orders"] == 3


def test_nobody_waits_longer_than_one_statement_may_take(meeting: Meeting, account: User) -> None:
    first = meeting.begin(account)
    impatient = meeting.accept(account, MARKET, patience_s=0.2)
    with pytest.raises(DatabaseUnavailable, match="did not answer another request in time"):
        impatient.result(WAIT_S)
    patient = meeting.accept(account, MARKET)
    meeting.all_wait(1)
    meeting.go_on()
    assert not first.result(WAIT_S).replayed
    assert not patient.result(WAIT_S).replayed
    assert meeting.groups == [1, 1]
    assert stored()["orders"] == 2


def test_who_has_waited_in_vain_already_does_not_wait_again(meeting: Meeting, account: User) -> None:
    with query_timeout(WAIT_S):
        own = query_budget()
        assert own is not None
        own.is_over = True
        with pytest.raises(DatabaseUnavailable, match="has not answered this request before"):
            accept_orders(account.pk, [MARKET])
    assert meeting.groups == []


def test_after_a_failure_the_next_one_leads(meeting: Meeting, account: User) -> None:
    really_store = meeting.really_store

    def fail_once(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
        meeting.really_store = really_store
        raise DatabaseUnavailable("down")

    meeting.really_store = fail_once
    first = meeting.begin(account)
    meeting.go_on()
    with pytest.raises(DatabaseUnavailable, match="down"):
        first.result(WAIT_S)
    assert not meeting.accept(account, MARKET).result(WAIT_S).replayed
    assert stored()["orders"] == 1


def test_an_error_of_ours_in_the_leader_costs_nobody_else_the_order(meeting: Meeting, account: User) -> None:
    really_store = meeting.really_store

    def break_once(requests: Sequence[PendingInsert]) -> set[uuid.UUID]:
        meeting.really_store = really_store
        raise RuntimeError("a mistake of ours")

    meeting.really_store = break_once
    first = meeting.begin(account)
    others = [meeting.accept(account, MARKET) for _ in range(5)]
    meeting.all_wait(5)
    meeting.go_on()
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        first.result(WAIT_S)
    for waiting in others:
        assert not waiting.result(WAIT_S).replayed
    assert stored()["orders"] == 5


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_call_that_comes_when_the_wait_for_it_ends_is_heard_and_one_too_many_does_no_harm(calls: int) -> None:
    """Else nobody would lead, or whoever leads would fail when it calls the others: a 500 for an order that may be stored."""
    waiter = Waiter(PendingInsert(ids=[], account_id=1, instruments=[], client_order_id="c", orders="[]"))

    class LastMoment(QueryBudget):
        def consume(self, waited_s: float) -> None:
            waiter.leads = True
            for _ in range(calls):
                waiter.wakeup.put(None)

    group_commit = GroupCommit()
    group_commit.wait(waiter, LastMoment(0.0))
    group_commit.waiting.append(waiter)
    group_commit.lead(None)
    assert waiter.is_done
