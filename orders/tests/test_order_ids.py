from datetime import UTC, datetime, timedelta

from uuid_utils.compat import uuid7

from orders.order_ids import first_id_at, made_at

MILLISECOND = timedelta(milliseconds=1)


def test_an_id_tells_when_it_was_made() -> None:
    before = datetime.now(UTC)
    id = uuid7()
    assert before - MILLISECOND <= made_at(id) <= datetime.now(UTC)


def test_a_range_of_times_is_a_range_of_ids() -> None:
    id = uuid7()
    moment = made_at(id)
    assert first_id_at(moment) <= id < first_id_at(moment + MILLISECOND)
    assert first_id_at(moment - MILLISECOND) < id
