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

# HTTP dates are in whole seconds.
RESOLUTION_S = 1.0


def check_services() -> Iterator[Finding]:
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
        return bad(name, f"{address}/health/live answers {status}", "Another program may be using its port: check its log.")
    return ok(name, f"answers at {address}")


def check_exchange() -> Iterator[Finding]:
    """Look up an order that does not exist, which changes nothing."""
    started = perf_counter()
    try:
        status, date = ask(f"{settings.EXCHANGE_URL}/orders/{uuid.uuid4()}")
    except (URLError, HTTPException, OSError) as error:
        advice = "Orders are accepted and wait. Check EXCHANGE_URL, and whether the exchange is running."
        yield bad("exchange", f"does not answer: {error}", advice)
        return
    took_s = perf_counter() - started
    if status == 404:
        text = f"answers in {took_s * 1000:.0f} ms"
        advice = "Ask the exchange: placements are slow too."
        yield judged("exchange", took_s, text, advice, warn_above=1.0, bad_above=settings.EXCHANGE_TIMEOUT)
    else:
        yield bad("exchange", f"answers {status} to a look-up", "Check EXCHANGE_URL, and ask the exchange.")
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
        return warn(name, "its answers have no Date", "Make sure in another way that both clocks follow a time server.")
    try:
        exchange_time = parsedate_to_datetime(date)
    except ValueError:
        return warn(
            name,
            f"the Date of its answers cannot be read: {date[:60]}",
            "Make sure in another way that both clocks follow a time server.",
        )
    # "-0000" means UTC without a local time zone (RFC 5322, section 3.3).
    exchange_time = exchange_time if exchange_time.tzinfo is not None else exchange_time.replace(tzinfo=UTC)
    difference_s = (exchange_time - timezone.now()).total_seconds() + RESOLUTION_S / 2
    apart_s = max(0.0, abs(difference_s) - RESOLUTION_S / 2 - took_s)
    advice = "Use a time server (NTP). If they differ by more than EXCHANGE_CLOCK_MARGIN, a 404 may be believed too early."
    return judged(
        name,
        apart_s,
        f"at least {apart_s:.1f} s from ours",
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
        advice = "Orders are still accepted and placed. Live events and executions wait until it is back."
        yield bad("kafka", f"does not answer: {error.args[0].str()}", advice)
        return
    if missing := [topic.full_name for topic in TOPICS if topic.full_name not in known]:
        yield bad("kafka", f"lacks the topic {', '.join(missing)}", "Run manage.py create_topics.")
        return
    yield ok("kafka", f"answers at {settings.KAFKA_BOOTSTRAP_SERVERS}")
    for topic, count in lag.items():
        advice = "Start more consumers, up to the number of partitions, and check their log."
        yield judged(f"lag of {topic}", count, f"{count} message(s) waiting", advice, warn_above=1_000, bad_above=100_000)
