"""What every gateway must do, whichever venue it speaks to and however.

A gateway's tests inherit from `GatewayContract` and provide the fixture `open_gateway`: called with the address of a
simulated exchange and a timeout in seconds it gives the gateway as an asynchronous context manager.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from exchange.gateway import (
    Acknowledged,
    CancelRequested,
    CancelTooLate,
    Found,
    NotFound,
    Refused,
    TermsConflict,
    Unavailable,
    Unknown,
)
from exchange.reports import ReportType
from exchange.tests.scenery import make_placement, next_report

ENDS = (ReportType.FILLED, ReportType.CANCELED)


@pytest.mark.simulator(shared=True)
class GatewayContract:
    """Every outcome of place, look_up and cancel against a real exchange process."""

    async def test_a_new_order_is_acknowledged_and_found(self, open_gateway, simulator):
        placement = make_placement()
        async with open_gateway(simulator.url) as gateway:
            outcome = await gateway.place(placement)
            found = await gateway.look_up(placement)
        assert isinstance(outcome, Acknowledged)
        assert isinstance(found, Found)
        assert found.exchange_order_id == outcome.exchange_order_id

    async def test_all_terms_arrive_as_they_were_sent(self, open_gateway, simulator):
        placement = make_placement(type="limit", side="sell", limit_price=Decimal("0.10"), quantity=2**40, account="Zoë 7")
        async with open_gateway(simulator.url) as gateway:
            assert isinstance(await gateway.place(placement), Acknowledged)
        taken = simulator.book()[placement.client_order_id]
        names = ("account", "type", "side", "instrument", "limit_price", "quantity")
        assert [taken[name] for name in names] == ["Zoë 7", "limit", "sell", "AAPL_2025_03", "0.10", 2**40]

    async def test_a_repeat_is_acknowledged_with_the_same_exchange_id(self, open_gateway, simulator):
        placement = make_placement()
        async with open_gateway(simulator.url) as gateway:
            first, second = await gateway.place(placement), await gateway.place(placement)
        assert isinstance(first, Acknowledged)
        assert second == first

    async def test_twenty_equal_placements_at_once_are_one_order(self, open_gateway, start_simulator):
        simulator, placement = start_simulator(latency=0.1), make_placement()
        async with open_gateway(simulator.url) as gateway:
            outcomes = await asyncio.gather(*(gateway.place(placement) for _ in range(20)))
        assert len(set(outcomes)) == 1
        assert isinstance(outcomes[0], Acknowledged)
        book = simulator.book()
        assert [order["times_received"] for order in book.values()] == [20]

    @pytest.mark.parametrize(
        "changes",
        [{"quantity": 11}, {"side": "sell"}, {"type": "limit", "limit_price": Decimal(5)}, {"instrument": "MSFT_2025_03"}],
        ids=["quantity", "side", "type", "instrument"],
    )
    async def test_the_same_id_with_other_terms_is_a_conflict(self, open_gateway, simulator, changes):
        placement = make_placement()
        other = make_placement(client_order_id=placement.client_order_id, **changes)
        async with open_gateway(simulator.url) as gateway:
            assert isinstance(await gateway.place(placement), Acknowledged)
            assert isinstance(await gateway.place(other), TermsConflict)
            assert isinstance(await gateway.look_up(other), TermsConflict)

    async def test_a_refused_order_is_not_at_the_exchange(self, open_gateway, simulator):
        placement = make_placement(instrument="REFUSE______")
        async with open_gateway(simulator.url) as gateway:
            assert await gateway.place(placement) == Refused("refused by the exchange")
            assert await gateway.look_up(placement) == NotFound()

    async def test_an_unavailable_exchange_did_not_take_the_order(self, open_gateway, simulator):
        placement = make_placement(instrument="OFFLINE_____")
        async with open_gateway(simulator.url) as gateway:
            outcome = await gateway.place(placement)
            assert isinstance(outcome, Unavailable)
            assert not outcome.exchange_is_unavailable
            assert await gateway.look_up(placement) == NotFound()

    async def test_an_order_is_not_taken_after_valid_until(self, open_gateway, simulator):
        placement = make_placement(valid_until=datetime.now(UTC) - timedelta(milliseconds=1))
        async with open_gateway(simulator.url) as gateway:
            assert isinstance(await gateway.place(placement), Unavailable)
            assert await gateway.look_up(placement) == NotFound()

    async def test_an_order_without_an_answer_is_unknown_and_found_by_looking_up(self, open_gateway, simulator):
        placement = make_placement(instrument="TIMEOUT_____")
        async with open_gateway(simulator.url, timeout_s=1) as impatient:
            assert isinstance(await impatient.place(placement), Unknown)
        async with open_gateway(simulator.url) as gateway:
            assert isinstance(await gateway.look_up(placement), Found)

    async def test_nobody_listening_is_unavailable_for_everything(self, open_gateway, start_simulator):
        simulator, placement = start_simulator(), make_placement()
        simulator.kill()
        async with open_gateway(simulator.url) as gateway:
            for outcome in (
                await gateway.place(placement),
                await gateway.look_up(placement),
                await gateway.cancel(placement.client_order_id),
            ):
                assert isinstance(outcome, Unavailable)
                assert outcome.exchange_is_unavailable

    async def test_a_frozen_exchange_is_unknown_until_it_answers_again(self, open_gateway, start_simulator):
        simulator, placement = start_simulator(), make_placement()
        async with open_gateway(simulator.url, timeout_s=0.5) as gateway:
            simulator.freeze()
            outcomes = await asyncio.gather(
                gateway.place(placement), gateway.look_up(placement), gateway.cancel(placement.client_order_id)
            )
            assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
            simulator.thaw()
            # The frozen exchange reads, once it goes on, what was sent to it meanwhile.
            await next_report(simulator.url, placement.client_order_id, ReportType.NEW)
            assert isinstance(await gateway.look_up(placement), Found)

    async def test_an_exchange_killed_while_placing_still_has_the_order(self, open_gateway, start_simulator):
        simulator, placement = start_simulator(latency=30), make_placement()
        async with open_gateway(simulator.url, timeout_s=10) as gateway, asyncio.timeout(10):
            placing = asyncio.create_task(gateway.place(placement))
            while isinstance(await gateway.look_up(placement), NotFound):  # noqa: ASYNC110 (nothing else tells that it was taken)
                await asyncio.sleep(0.01)
            simulator.restart()
            assert isinstance(await placing, Unknown)
            assert isinstance(await gateway.look_up(placement), Found)

    async def test_cut_connections_are_unknown_and_the_book_tells_the_truth(self, open_gateway, start_simulator):
        simulator = start_simulator(cut_rate=1)
        placements = [make_placement() for _ in range(30)]
        async with open_gateway(simulator.url) as gateway:
            outcomes = await asyncio.gather(*map(gateway.place, placements))
            looked_up = await asyncio.gather(*map(gateway.look_up, placements))
        assert {type(outcome) for outcome in outcomes} == {Unknown}
        assert {type(outcome) for outcome in looked_up} == {Found, NotFound}
        taken = {one.client_order_id for one, outcome in zip(placements, looked_up, strict=True) if isinstance(outcome, Found)}
        assert set(simulator.book()) == taken

    async def test_a_restarted_exchange_never_gets_an_order_twice(self, open_gateway, start_simulator):
        simulator = start_simulator()
        async with open_gateway(simulator.url) as gateway:
            warm_up, placements = make_placement(), [make_placement() for _ in range(20)]
            await asyncio.gather(*(gateway.place(warm_up) for _ in range(10)))
            # The connections that the gateway kept are dead now, and it may or may not have noticed. The others will be new.
            simulator.restart()
            outcomes = await asyncio.gather(*map(gateway.place, placements))
        assert {type(outcome) for outcome in outcomes} <= {Acknowledged, Unknown}
        book = simulator.book()
        del book[warm_up.client_order_id]
        assert book
        assert all(order["times_received"] == 1 for order in book.values())
        acknowledged = {
            one.client_order_id for one, outcome in zip(placements, outcomes, strict=True) if isinstance(outcome, Acknowledged)
        }
        assert acknowledged <= set(book)

    async def test_a_filled_order_is_found_with_its_totals(self, open_gateway, simulator):
        placement = make_placement(quantity=3)
        async with open_gateway(simulator.url) as gateway:
            await gateway.place(placement)
            report = await next_report(simulator.url, placement.client_order_id, *ENDS)
            found = await gateway.look_up(placement)
        assert isinstance(found, Found)
        assert (found.status, found.filled_quantity, found.average_price) == ("filled", 3, report.average_price)
        assert found.last_sequence >= report.sequence

    async def test_an_open_order_is_cancelled_by_a_report(self, open_gateway, simulator):
        placement = make_placement(instrument="NEVERFILL___")
        async with open_gateway(simulator.url) as gateway:
            await gateway.place(placement)
            assert await gateway.cancel(placement.client_order_id) == CancelRequested()
            report = await next_report(simulator.url, placement.client_order_id, *ENDS)
            assert report.type is ReportType.CANCELED
            assert isinstance(await gateway.cancel(placement.client_order_id), CancelTooLate)

    async def test_a_filled_order_cannot_be_cancelled(self, open_gateway, simulator):
        placement = make_placement()
        async with open_gateway(simulator.url) as gateway:
            await gateway.place(placement)
            await next_report(simulator.url, placement.client_order_id, ReportType.FILLED)
            assert isinstance(await gateway.cancel(placement.client_order_id), CancelTooLate)

    async def test_an_unknown_order_is_neither_found_nor_cancelled(self, open_gateway, simulator):
        placement = make_placement()
        async with open_gateway(simulator.url) as gateway:
            assert await gateway.look_up(placement) == NotFound()
            assert await gateway.cancel(placement.client_order_id) == NotFound()

    @pytest.mark.parametrize("client_order_id", ["a/../b", "..", "100%", "a b?c=d#e", "ümlaut+&"])
    async def test_any_printable_id_reaches_the_exchange_unchanged(self, open_gateway, simulator, client_order_id):
        placement = make_placement(client_order_id=client_order_id, instrument="NEVERFILL___")
        async with open_gateway(simulator.url) as gateway:
            assert isinstance(await gateway.place(placement), Acknowledged)
            assert isinstance(await gateway.look_up(placement), Found)
            assert await gateway.cancel(client_order_id) == CancelRequested()
        assert client_order_id in simulator.book()
