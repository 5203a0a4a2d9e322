import pytest

from benchmarks import wrk
from benchmarks.chart import draw
from benchmarks.children import BenchmarkError
from benchmarks.contenders import CELERY, OURS, PGBENCH
from benchmarks.figures import Figure, Results, percentile, shown, times_better
from benchmarks.measure import Measure
from benchmarks.measures.accepting import transactions
from benchmarks.measures.placing import Sample, sustained
from benchmarks.measures.reaching import Sent, figures
from benchmarks.report import first_figures, rows_of, table, verdict
from benchmarks.targets import TARGETS

ACCEPT = Measure("accept", "POST /orders", "How many.", {})


def results() -> Results:
    found = Results()
    for rate in (900, 1000, 1400):
        found.add("accept", OURS, [Figure("accepted", rate, "orders/s"), Figure("p99", 40, "ms")])
    found.add("accept", CELERY, [Figure("accepted", 400, "orders/s"), Figure("p99", 80, "ms")])
    found.add("accept", PGBENCH, [Figure("accepted", 8000, "orders/s")])
    return found


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1, 100), (0, 1)])
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_nothing_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_better_is_more_of_a_rate_and_less_of_a_time() -> None:
    assert times_better(1000, 400, "orders/s") == 2.5
    assert times_better(10, 40, "ms") == 4


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (12.34, "12.3"), (0.12345, "0.123"), (0, "0")])
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert shown(value) == text


def test_the_table_shows_medians_ranges_and_ratios() -> None:
    assert list(table(rows_of(results(), ACCEPT))) == [
        "|  | accepted, orders/s | p99, ms | ours, times as good |",
        "|---|---|---|---|",
        f"| {OURS} | 1,000 (900 to 1,400) | 40.0 (40.0 to 40.0) |  |",
        f"| {CELERY} | 400 | 80.0 | 2.5 |",
        f"| {PGBENCH} | 8,000 |  | 0.125 |",
    ]


def test_targets_say_whether_they_are_met_and_by_how_much_not() -> None:
    rate, _, p99, *_ = TARGETS
    assert verdict(rate, results()) == f"| {rate.text} | 2.5 times | met |"
    assert verdict(p99, results()) == f"| {p99.text} | 0.5 times | met |"
    worse = Results()
    worse.add("accept", OURS, [Figure("accepted", 500, "orders/s")])
    worse.add("accept", CELERY, [Figure("accepted", 500, "orders/s")])
    assert verdict(rate, worse) == f"| {rate.text} | 1 times | **missed** by 50% |"
    assert verdict(rate, Results()) == f"| {rate.text} | not measured | |"


def test_the_picture_has_a_bar_for_each_contender() -> None:
    picture = draw(first_figures(results(), [ACCEPT]), OURS)
    assert picture.count("<rect x=") == 3
    assert "1,000 orders/s" in picture


def test_wrk_is_read_from_its_last_line() -> None:
    load = wrk.read('Running ...\n\n{"requests":600,"duration":2000000,"p50":1500,"p99":9000,"refused":6,"broken":1}\n')
    assert [figure.value for figure in wrk.figures(load)] == [297, 1.5, 9, 7]
    with pytest.raises(BenchmarkError, match="connection refused"):
        wrk.read("connection refused")


def test_pgbench_counts_transactions() -> None:
    told = "latency average = 3.250 ms\ninitial connection time = 1 ms\ntps = 20.5 (without initial connection time)\n"
    assert transactions(told, 500) == [Figure("accepted", 10250, "orders/s"), Figure("mean", 3.25, "ms")]


def test_only_the_time_at_full_work_counts_for_what_is_sustained() -> None:
    samples = [Sample(0, 0, 1000), Sample(1, 10, 990), Sample(4, 400, 600), Sample(6, 800, 200), Sample(8, 1000, 0)]
    assert sustained(samples, warm_up_s=3) == 200


def test_a_backlog_that_is_too_small_is_no_measure() -> None:
    with pytest.raises(BenchmarkError, match="too short"):
        sustained([Sample(0, 0, 100), Sample(1, 100, 0), Sample(5, 100, 0)], warm_up_s=3)
    with pytest.raises(BenchmarkError, match="no order"):
        sustained([Sample(0, 0, 100)])


def test_an_order_that_does_not_reach_the_exchange_is_no_latency() -> None:
    sent = {"a": Sent(10.0, 10.1), "b": Sent(20.0, 20.1)}
    p50, p99, *from_request = figures(sent, {"a": 10.15, "b": 20.05, "another": 1.0})
    assert (p50.value, round(p99.value)) == (0, 50)
    assert [round(figure.value) for figure in from_request] == [50, 150]
    with pytest.raises(BenchmarkError, match="1 of 2 orders"):
        figures(sent, {"a": 10.15})
