"""Apply the reports in the topic `executions`, in any order and any number of times."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from time import sleep

import structlog
from confluent_kafka import KafkaException, TopicPartition
from django.db import connection

from exchange.reports import BadReport, ExecutionReport, Session, parse_frame, raw_text
from infrastructure.database.errors import DatabaseUnavailable
from infrastructure.database.unavailable import one_line
from orders.executions.reports import apply_reports
from orders.kafka.clients import VERSION, AcknowledgedProducer, BrokerUnavailable, Record, new_consumer, next_offsets, read_batch
from orders.kafka.topics import DEAD_EXECUTIONS, EXECUTIONS

log = structlog.get_logger()

BATCH_SIZE = 500
POLL_S = 0.2
RETRY_S = 0.5


class UpdateRecorder:
    """A member of the recorders' group. It applies a batch to the database, then commits its offsets."""

    def __init__(self) -> None:
        self.consumer = new_consumer(EXECUTIONS.group or "")
        self.dead_letters = AcknowledgedProducer()

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Record until told to stop, then leave the group, so that others take over at once."""
        self.consumer.subscribe([EXECUTIONS.full_name])
        try:
            while not is_stopping():
                self.run_once()
        finally:
            self.consumer.close()
            self.dead_letters.close()

    def run_once(self) -> int:
        """Record one batch. Return how many messages were recorded: 0 also when the batch has to be read again."""
        records = read_batch(self.consumer, BATCH_SIZE, POLL_S)
        if not records:
            return 0
        try:
            self.record(records)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", doing="record reports", error=one_line(error))
            connection.close()
            self.read_again(records)
            return 0
        except BrokerUnavailable as error:
            log.warning("kafka_unavailable", doing="keep dead letters", reason=str(error))
            self.read_again(records)
            return 0
        self.commit(records)
        return len(records)

    def record(self, records: Sequence[Record]) -> None:
        """Apply the batch and keep its dead letters. Safe to repeat. Raises DatabaseUnavailable, BrokerUnavailable."""
        by_session: defaultdict[str, list[ExecutionReport | BadReport]] = defaultdict(list)
        dead: list[tuple[Record, str]] = []
        for record in records:
            report = read_report(record)
            by_session[record.headers.get("session", "")].append(report)
            if isinstance(report, BadReport):
                dead.append((record, report.error))
        for session_id, reports in by_session.items():
            apply_reports(reports, session_id)
        self.keep_dead(dead)

    def keep_dead(self, dead: Sequence[tuple[Record, str]]) -> None:
        for record, reason in dead:
            origin = f"{record.topic}[{record.partition}]@{record.offset}"
            log.warning("report_dead", reason=reason, origin=origin)
            headers = {**record.headers, "version": VERSION, "reason": reason, "origin": origin}
            self.dead_letters.send(DEAD_EXECUTIONS.full_name, record.value, key=record.key, headers=headers)
        if dead:
            self.dead_letters.flush()

    def read_again(self, records: Sequence[Record]) -> None:
        """Go back to the start of the batch and wait a little. Heartbeats to the group go on meanwhile."""
        first: dict[tuple[str, int], int] = {}
        for record in records:
            first.setdefault((record.topic, record.partition), record.offset)
        try:
            for (topic, partition), offset in first.items():
                self.consumer.seek(TopicPartition(topic, partition, offset))
        except KafkaException as error:
            # The partition went to another member, or is not ready. Reading on would skip the batch, so give up all partitions:
            # their next readers begin at the committed offsets.
            log.warning("partitions_given_up", reason=error.args[0].str())
            self.consumer.close()
            self.consumer = new_consumer(EXECUTIONS.group or "")
            self.consumer.subscribe([EXECUTIONS.full_name])
        sleep(RETRY_S)

    def commit(self, records: Sequence[Record]) -> None:
        try:
            self.consumer.commit(offsets=next_offsets(records), asynchronous=False)
        except KafkaException as error:
            # The messages may be read again. Their events are recorded by then, so that does no harm.
            log.warning("offsets_not_committed", reason=error.args[0].str())


def read_report(record: Record) -> ExecutionReport | BadReport:
    """The report in a message. Returns a BadReport for any other message, and for an unknown version."""
    report = parse_frame(record.value)
    version = record.headers.get("version")
    problem = None
    if version != VERSION:
        problem = f"version {version} is not known"
    elif "session" not in record.headers:
        problem = "the header `session` is missing"
    elif isinstance(report, Session):
        problem = "a session message is not a report"
    if problem is None and not isinstance(report, Session):
        return report
    return BadReport(raw_text(record.value), problem or "", None if isinstance(report, Session) else report.sequence)
