"""Applying what stands in the topic `executions`, in any order and any number of times."""

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
    """One member of the group of recorders: a batch is applied in the database, then its offsets are committed."""

    def __init__(self) -> None:
        self.consumer = new_consumer(EXECUTIONS.group or "")
        self.dead_letters = AcknowledgedProducer()

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Record until told to stop; then leave the group, so that others take over at once."""
        self.consumer.subscribe([EXECUTIONS.full_name])
        try:
            while not is_stopping():
                self.run_once()
        finally:
            self.consumer.close()
            self.dead_letters.close()

    def run_once(self) -> int:
        """Record one batch; returns how many messages it had, 0 also when it has to be read again."""
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
            log.warning("kafka_unavailable", doing="keep dead reports", reason=str(error))
            self.read_again(records)
            return 0
        self.commit(records)
        return len(records)

    def record(self, records: Sequence[Record]) -> None:
        """Raises DatabaseUnavailable, BrokerUnavailable; nothing is lost or doubled by doing it again."""
        of_session: defaultdict[str, list[ExecutionReport | BadReport]] = defaultdict(list)
        dead: list[tuple[Record, str]] = []
        for record in records:
            report = read_report(record)
            of_session[record.headers.get("session", "")].append(report)
            if isinstance(report, BadReport):
                dead.append((record, report.error))
        for session_id, reports in of_session.items():
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
        """Go back to the beginning of the batch, and let some time pass. The group hears from us all the while."""
        first: dict[tuple[str, int], int] = {}
        for record in records:
            first.setdefault((record.topic, record.partition), record.offset)
        try:
            for (topic, partition), offset in first.items():
                self.consumer.seek(TopicPartition(topic, partition, offset))
        except KafkaException as error:
            # It went to another member, or is not ready. To go on behind the batch would skip it, so all partitions are given
            # up: whoever gets one now begins where it was committed.
            log.warning("partitions_given_up", reason=error.args[0].str())
            self.consumer.close()
            self.consumer = new_consumer(EXECUTIONS.group or "")
            self.consumer.subscribe([EXECUTIONS.full_name])
        sleep(RETRY_S)

    def commit(self, records: Sequence[Record]) -> None:
        try:
            self.consumer.commit(offsets=next_offsets(records), asynchronous=False)
        except KafkaException as error:
            # Whoever reads these messages again finds their events recorded.
            log.warning("offsets_not_committed", reason=error.args[0].str())


def read_report(record: Record) -> ExecutionReport | BadReport:
    """The report in a message; one that is none, or in a version that we do not know, comes back as BadReport."""
    report = parse_frame(record.value)
    version = record.headers.get("version")
    problem = None
    if version != VERSION:
        problem = f"version {version} is not known"
    elif "session" not in record.headers:
        problem = "the header `session` is missing"
    elif isinstance(report, Session):
        problem = "a session is no report"
    if problem is None and not isinstance(report, Session):
        return report
    return BadReport(raw_text(record.value), problem or "", None if isinstance(report, Session) else report.sequence)
