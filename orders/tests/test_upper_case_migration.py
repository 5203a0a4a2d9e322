"""What becomes of rows in lower case when the migration that ends them runs."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from orders.models import Halt, LastPrice, Order, SafetyEvent
from orders.placement.attempts import claim_due_orders
from orders.risk.switches import halt_trading, release_orders, resume_trading
from orders.tests.desk import lose, refuse
from testsupport.placement import POLICY, claim_one

pytestmark = pytest.mark.django_db(transaction=True)
Accept = Callable[..., Order]
NAME = ("orders", "0011_upper_case_instruments")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def migrate() -> Iterator[Callable[[], None]]:
    """The database before the migration, whatever came after it, and a call that runs it."""
    loader = MigrationLoader(connection)
    migration, before = loader.disk_migrations[NAME], loader.project_state(NAME, at_end=False)
    with connection.schema_editor() as editor:
        migration.unapply(before.clone(), editor)
    is_done = False

    def apply() -> None:
        nonlocal is_done
        is_done = True
        with connection.schema_editor() as editor:
            migration.apply(before.clone(), editor)

    yield apply
    if not is_done:
        apply()


def spell(order: Order, instrument: str, **changes: Any) -> Order:
    Order.objects.filter(id=order.id).update(instrument=instrument, **changes)
    return order


def test_orders_that_were_never_sent_are_in_upper_case_and_the_others_as_they_were_sent(migrate: Any, accept: Accept) -> None:
    sent = spell(claim_one_of(accept()), "aapl_2025_03")
    lost = spell(lose(accept(), POLICY), "Aapl_2025_03")
    waiting, failed = spell(accept(), "aapl_2025_03"), spell(refuse(accept()), "aaPL_2025_03")
    plain = accept()
    # As `after_restore` leaves what the backup knew as not sent.
    restored = {"may_be_at_exchange": True, "sent_valid_until": NOON}
    perhaps = spell(accept(), "aapl_2025_03", **restored)
    migrate()
    assert dict(Order.objects.values_list("id", "instrument")) == {
        sent.id: "aapl_2025_03",
        lost.id: "Aapl_2025_03",
        perhaps.id: "aapl_2025_03",
        **dict.fromkeys([waiting.id, failed.id, plain.id], "AAPL_2025_03"),
    }
    assert dict(Order.objects.exclude(id=lost.id).values_list("id", "attempt_count")) == {
        sent.id: 1,
        perhaps.id: 1,
        **dict.fromkeys([waiting.id, failed.id, plain.id], 0),
    }
    # Each of them can still change.
    assert Order.objects.update(updated_at=NOON) == 6


def claim_one_of(order: Order) -> Order:
    assert claim_one().order.id == order.id
    return order


def test_the_newest_last_price_of_an_instrument_stays(migrate: Any, db: None) -> None:
    for instrument, price, minutes in [
        ("AAPL_2025_03", 10, 0),
        ("aapl_2025_03", 12, 2),
        ("Aapl_2025_03", 11, 1),
        ("TSLA_2025_06", 20, 3),
        ("tsla_2025_06", 21, 0),
        ("goog_2025_09", 30, 0),
        ("same_2025_01", 40, 0),
        ("SAME_2025_01", 40, 0),
    ]:
        LastPrice.objects.create(instrument=instrument, price=price, executed_at=NOON + timedelta(minutes=minutes))
    migrate()
    assert dict(LastPrice.objects.values_list("instrument", "price")) == {
        "AAPL_2025_03": 12,
        "TSLA_2025_06": 20,
        "GOOG_2025_09": 30,
        "SAME_2025_01": 40,
    }


def test_of_two_halts_of_an_instrument_the_older_goes_on(migrate: Any, account: Any) -> None:
    older, newer = halted("aapl_2025_03"), halted("AAPL_2025_03")
    alone, everything, of_account = halted("tsla_2025_06"), halt_trading("dora", "x"), halt_trading("dora", "x", account=account)
    over = halted("goog_2025_09")
    resume_trading("dora", "explained", instrument="goog_2025_09")
    migrate()
    assert dict(Halt.objects.filter(ended_at=None).values_list("id", "instrument")) == {
        older.id: "AAPL_2025_03",
        alone.id: "TSLA_2025_06",
        everything.id: None,
        of_account.id: None,
    }
    newer.refresh_from_db()
    over.refresh_from_db()
    reason = "In upper case it is the same as an older halt, which goes on."
    assert (newer.ended_by, newer.end_reason) == ("migration 0011_upper_case_instruments", reason)
    assert (newer.released_at, over.instrument, over.end_reason) == (None, "GOOG_2025_09", "explained")
    events = SafetyEvent.objects.order_by("id").values_list("type", "instrument", "by", "reason")
    assert list(events)[-1] == ("resumed", "AAPL_2025_03", "migration 0011_upper_case_instruments", reason)
    assert SafetyEvent.objects.filter(type="resumed").count() == 2


def test_what_waits_for_two_halts_of_an_instrument_waits_for_the_one_that_goes_on(migrate: Any, accept: Accept) -> None:
    waiting, sent = spell(accept(), "aapl_2025_03"), spell(accept(), "aapl_2025_03", attempt_count=1)
    halted("aapl_2025_03")
    halted("AAPL_2025_03")
    assert claim_due_orders(10, POLICY) == []
    migrate()
    assert release_orders() == 0
    assert Order.objects.filter(held_at__isnull=False).count() == 2

    resume_trading("dora", "explained", instrument="AAPL_2025_03")
    assert release_orders() == 2
    assert {claim.order.id for claim in claim_due_orders(10, POLICY)} == {waiting.id, sent.id}


def halted(instrument: str) -> Halt:
    return halt_trading("dora", "odd prices", instrument=instrument)
