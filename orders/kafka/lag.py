"""How far the consumer groups are behind, measured in the background, so that no probe waits for an unavailable broker."""

import threading
from dataclasses import dataclass, field

from confluent_kafka import KafkaException

from orders.kafka.topics import consumer_lag

INTERVAL_S = 5.0
REQUEST_TIMEOUT_S = 2.0
# The first caller waits at most this long for the first measurement.
FIRST_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Lag:
    """How many messages wait for each group, by topic, or why that is not known."""

    messages: dict[str, int] = field(default_factory=dict)
    problem: str | None = "not checked yet"


class LagWatch:
    """Measures the lag every few seconds, on a thread that the first call of `lag` starts."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._looked = threading.Event()
        self._thread: threading.Thread | None = None
        self._lag = Lag()
        self._closing = threading.Event()

    def lag(self) -> Lag:
        """The latest measurement."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_forever, name="kafka-lag", daemon=True)
                self._thread.start()
        self._looked.wait(FIRST_LOOK_S)
        return self._lag

    def close(self) -> None:
        """Stop measuring. Returns when the thread has ended."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _look_forever(self) -> None:
        while not self._closing.is_set():
            try:
                self._lag = Lag(consumer_lag(REQUEST_TIMEOUT_S), None)
            except KafkaException as error:
                self._lag = Lag(problem=f"Kafka does not answer: {error.args[0].str()}")
            self._looked.set()
            self._closing.wait(INTERVAL_S)


lag_watch = LagWatch()
