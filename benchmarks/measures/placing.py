"""Measures how many accepted orders are completed, with an exchange that takes 0.5 s and is unavailable one time in ten."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from benchmarks import wrk
from benchmarks.children import BenchmarkError
from benchmarks.contenders import OURS, PEERS, WEB, WORKERS, Contender
from benchmarks.figures import Figure
from benchmarks.measure import Measure
from benchmarks.stage import Stage, Turn

# More orders than are placed during the measure. Peers have no batches, so accepting a larger backlog would take long.
BACKLOG_PER_S, PEERS_BACKLOG_PER_S = 2200, 400
SAMPLE_S = 0.5
# Workers need a moment until they reach their full concurrency and the first answers have come.
WARM_UP_S = 3.0
# wrk waits after each answer, so a little less arrives than this: about 500.
ARRIVALS_PER_S, ARRIVAL_CONNECTIONS = 550, 128


class Sample(NamedTuple):
    """What the database showed at a point in time (s)."""

    at: float
    completed: int
    waiting: int


def sustained(samples: Sequence[Sample], warm_up_s: float = WARM_UP_S) -> float:
    """Orders completed per second, from `warm_up_s` after the first one to the last sample with orders left to place.

    Raises BenchmarkError when there are too few samples.
    """
    begun = next((sample.at for sample in samples if sample.completed), None)
    if begun is None:
        raise BenchmarkError("no order was completed")
    counted = [sample for sample in samples if sample.at >= begun + warm_up_s and sample.waiting]
    if len(counted) < 2:
        raise BenchmarkError("nothing was left to place before the measure had begun: the rounds are too short")
    first, last = counted[0], counted[-1]
    return (last.completed - first.completed) / (last.at - first.at)


def drain(stage: Stage, contender: Contender, *, accounts: int = 1) -> list[Figure]:
    """Accept orders first, then start the workers, which place them."""
    if contender.places_while_accepting:
        return place_while_accepting(stage, contender)
    with stage.turn(contender, WEB) as turn:
        accept_backlog(turn, contender.tokens[:accounts])
        turn.start(WORKERS, *(name for name in ("sweep",) if name in contender.services))
        samples: list[Sample] = []
        seconds = length_of(stage, contender)
        deadline = time.monotonic() + seconds + 60
        with sampling(turn, samples):
            turn.children.wait_until(lambda: is_over(samples, seconds), "orders are placed", deadline - time.monotonic())
    return [Figure("completed", sustained(samples), "orders/s")]


def length_of(stage: Stage, contender: Contender) -> float:
    """Longer for Lemon Market, which has to show that it does not slow down."""
    return stage.options.sustained_seconds if contender.name == OURS else stage.options.seconds


def is_over(samples: Sequence[Sample], seconds: float) -> bool:
    """Whether the measure has lasted long enough, or nothing is left to place."""
    begun = next((sample.at for sample in samples if sample.completed), None)
    return begun is not None and (samples[-1].at > begun + WARM_UP_S + seconds or not samples[-1].waiting)


def accept_backlog(turn: Turn, tokens: Sequence[str]) -> None:
    contender, seconds = turn.contender, length_of(turn.stage, turn.contender) + WARM_UP_S
    is_ours = contender.name == OURS
    wanted = seconds * (BACKLOG_PER_S if is_ours else PEERS_BACKLOG_PER_S)
    url, batch = contender.orders_url + "/batch" * is_ours, 500 * is_ours
    while read(turn).waiting < wanted:
        load = wrk.post_orders(url, tokens, seconds=1, connections=8, batch=batch)
        if load.refused or load.broken:
            raise BenchmarkError(f"{load.refused} answers refused and {load.broken} broken: no orders to place")


def place_while_accepting(stage: Stage, contender: Contender) -> list[Figure]:
    samples: list[Sample] = []
    seconds = stage.options.seconds + WARM_UP_S + 2
    with stage.turn(contender, WEB) as turn, sampling(turn, samples):
        wrk.post_orders(contender.orders_url, (), seconds=seconds, connections=stage.options.connections)
    return [Figure("completed", sustained(samples), "orders/s")]


def whole_system(stage: Stage, contender: Contender) -> list[Figure]:
    """Run everything while orders arrive one by one, for 100 accounts."""
    samples: list[Sample] = []
    seconds = length_of(stage, contender) + WARM_UP_S + 2
    with stage.turn(contender, WEB, *(name for name in contender.services if name not in {WEB, "exchange"})) as turn:
        with sampling(turn, samples):
            load = wrk.post_orders(
                contender.orders_url,
                contender.tokens,
                seconds=seconds,
                connections=ARRIVAL_CONNECTIONS,
                per_s=ARRIVALS_PER_S,
            )
        waiting_in_the_end = samples[-1].waiting
    return [
        Figure("completed", sustained(samples), "orders/s"),
        Figure("arrived", load.rate, "orders/s"),
        Figure("waiting in the end", waiting_in_the_end, "orders"),
    ]


@contextmanager
def sampling(turn: Turn, samples: list[Sample]) -> Iterator[None]:
    """Add a sample every half second while the block runs."""
    is_over = threading.Event()

    def sample() -> None:
        while not is_over.wait(SAMPLE_S):
            samples.append(read(turn))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def read(turn: Turn) -> Sample:
    with turn.database() as database:
        row = database.execute(turn.contender.progress).fetchone()
        assert row is not None
        return Sample(time.monotonic(), *row)


DRAINED = Measure(
    "place",
    "Accepted to completed",
    "Exchange latency 0.5 s, one in ten unavailable, on the same machine. Orders of one account were accepted before, and "
    "nothing but placing happens meanwhile; the original brief's design places while it accepts.",
    {OURS: drain, **dict.fromkeys(PEERS, drain)},
)
DRAINED_OF_MANY_ACCOUNTS = Measure(
    "place_many_accounts",
    "Accepted to completed for 100 accounts",
    "The same, with orders of 100 accounts.",
    {OURS: partial(drain, accounts=100)},
)
WHOLE_SYSTEM = Measure(
    "place_whole_system",
    "Accepted to completed while about 500 orders/s arrive",
    "All of our processes run, executions are followed too, and orders arrive one by one from 100 accounts.",
    {OURS: whole_system},
)
