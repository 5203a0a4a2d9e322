from exchange.reports import TERMINAL_STATUSES
from orders.states import EXECUTION_STATUS_CHANGES, OPEN_EXECUTION, STATUS_CHANGES, TERMINAL_EXECUTION, ExecutionStatus, Status


def test_the_tables_cover_every_status() -> None:
    assert set(STATUS_CHANGES) == set(Status)
    assert set(EXECUTION_STATUS_CHANGES) == {None, *ExecutionStatus}


def test_no_row_leads_to_itself() -> None:
    assert not [status for status, targets in STATUS_CHANGES.items() if status in targets]
    assert not [status for status, targets in EXECUTION_STATUS_CHANGES.items() if status in targets]


def test_what_the_exchange_has_is_never_taken_back() -> None:
    assert STATUS_CHANGES[Status.COMPLETED] == frozenset()
    assert all(Status.COMPLETED in STATUS_CHANGES[status] for status in Status if status != Status.COMPLETED)


def test_only_a_late_fill_leaves_a_terminal_execution_status() -> None:
    for status in TERMINAL_EXECUTION:
        assert EXECUTION_STATUS_CHANGES[status] == {ExecutionStatus.FILLED} - {status}


def test_an_execution_is_over_when_it_is_over_at_the_exchange() -> None:
    assert {status.value for status in TERMINAL_EXECUTION} == {status.value for status in TERMINAL_STATUSES}


def test_an_open_execution_can_end_in_every_way() -> None:
    for status in OPEN_EXECUTION:
        assert EXECUTION_STATUS_CHANGES[status] >= TERMINAL_EXECUTION
