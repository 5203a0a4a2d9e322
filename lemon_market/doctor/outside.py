import uuid
from collections.abc import Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from time import perf_counter
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from django.conf import settings
from django.utils import timezone

from infrastructure.addresses import url
from lemon_market.doctor.finding import Finding, bad, judged, ok, results, warn
from orders.transport import transport

# HTTP tells the time in full seconds.
RESOLUTION_S = 1.0


def check_outside() -> Iterator[Finding]:
    yield from results("web", lambda: check_server("web", settings.WEB_PORT, "start granian"))
    start = "start manage.py run_notification_service"
    yield from results("notifications", lambda: check_server("notifications", settings.NOTIFICATIONS_PORT, start))
    yield from results("exchange", check_exchange)
    if transport().uses_kafka:
        yield from results("kafka", check_kafka)


def check_server(name: str, port: int, start: str) -> Finding:
    address = url(port)
    try:
        status, _ = ask(f"{address}/health/live")
    except (URLError, HTTPException, OSError) as error:
        return warn(name, f"nothing answers at {address}: {error}", f"If it should run on this machine, {start}.")
    if status != 200:
        return bad(name, f"{address}/health/live answers {status}", "Something else may use its port: look at its log.")
    return ok(name, f"answers at {address}")


def check_exchange() -> Iterator[Finding]:
    """An order that nobody has is looked up there, which changes nothing."""
    started = perf_counter()
    try:
        status, date = ask(f"{settings.EXCHANGE_URL}/orders/{uuid.uuid4()}")
    except (URLError, HTTPException, OSError) as error:
        advice = "Orders are accepted and wait. Look whether EXCHANGE_URL is right and the exchange is there."
        yield bad("exchange", f"does not answer: {error}", advice)
        return
    took_s = perf_counter() - started
    if status == 404:
        text = f"answers in {took_s * 1000:.0f} ms"
        advice = "Ask the exchange; placements take their time."
        yield judged("exchange", took_s, text, advice, warn_above=1.0, bad_above=settings.EXCHANGE_TIMEOUT)
    else:
        yield bad("exchange", f"answers {status} to a look-up", "Look whether EXCHANGE_URL is right, and ask the exchange.")
    yield from results("clock of the exchange", lambda: clock_of_exchange(date, took_s))


def ask(url: str) -> tuple[int, str | None]:
    try:
        with urlopen(url, timeout=settings.EXCHANGE_TIMEOUT) as answer:  # noqa: S310 - the operator's own address
            return answer.status, answer.headers["Date"]
    except HTTPError as error:
        with error:
            return error.code, error.headers["Date"]


def clock_of_exchange(date: str | None, took_s: float) -> Finding:
    name = "clock of the exchange"
    if date is None:
        return warn(name, "it does not tell the time", "Make sure otherwise that both clocks follow a time server.")
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return warn(
            name,
            f"it tells a time that cannot be read: {date[:60]}",
            "Make sure otherwise that both clocks follow a time server.",
        )
    # "-0000" is UTC of a clock that knows no zone (RFC 5322, section 3.3).
    told = told if told.tzinfo is not None else told.replace(tzinfo=UTC)
    difference_s = (told - timezone.now()).total_seconds() + RESOLUTION_S / 2
    apart_s = max(0.0, abs(difference_s) - RESOLUTION_S / 2 - took_s)
    advice = "Follow a time server (NTP). EXCHANGE_CLOCK_MARGIN is how far apart they may be before a 404 proves too much."
    return judged(
        name,
        apart_s,
        f"{apart_s:.1f} s from ours at least",
        advice,
        warn_above=settings.EXCHANGE_CLOCK_MARGIN / 2,
        bad_above=settings.EXCHANGE_CLOCK_MARGIN,
    )


def check_kafka() -> Iterator[Finding]:
    from confluent_kafka import KafkaException  # noqa: PLC0415 - librdkafka is loaded only where it is used

    from orders.kafka.topics import TOPICS, consumer_lag, new_admin  # noqa: PLC0415

    try:
        known = new_admin().list_topics(timeout=settings.EXCHANGE_TIMEOUT).topics
        lag = consumer_lag(settings.EXCHANGE_TIMEOUT)
    except KafkaException as error:
        advice = "Orders are accepted and placed all the same. Live events and executions wait until it is back."
        yield bad("kafka", f"does not answer: {error.args[0].str()}", advice)
        return
    if missing := [topic.full_name for topic in TOPICS if topic.full_name not in known]:
        yield bad("kafka", f"lacks the topic {', '.join(missing)}", "Run manage.py create_topics.")
        return
    yield ok("kafka", f"answers at {settings.KAFKA_BOOTSTRAP_SERVERS}")
    for topic, count in lag.items():
        advice = "Start more consumers, as many as the topic has partitions, and look at their log."
        yield judged(f"lag of {topic}", count, f"{count} message(s) wait", advice, warn_above=1_000, bad_above=100_000)
