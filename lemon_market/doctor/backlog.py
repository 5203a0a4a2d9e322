from collections.abc import Iterator

from django.conf import settings
from django.utils import timezone

from infrastructure.database.clock import database_now
from infrastructure.models import UNKNOWN_CLIENTS, RequestCount
from lemon_market.doctor.finding import Finding, bad, judged, ok, results, warn
from orders.executions.feed_connection import SILENT_AFTER
from orders.operations import system_status
from orders.placement.worker_state import SILENT_AFTER as WORKER_SILENT_AFTER
from orders.placement.worker_state import heard_within
from orders.risk.halts import halts_in_force, how_far
from orders.states import Status
from orders.transport import transport


def check_backlog() -> Iterator[Finding]:
    yield from results("roles", roles)
    yield from results("workers", workers)
    yield from results("queue", queue)
    yield from results("feed", feed)
    yield from results("orders for an operator", for_an_operator)
    yield from results("addresses of clients", clients)


def roles() -> Iterator[Finding]:
    """By the names of their connections. Servers connect only to answer requests, so `check_services` asks them directly."""
    connected = system_status.connections().by_program
    for role in transport().roles:
        count = connected.get(f"lemon_market {role}", 0)
        if count:
            yield ok(role, f"running ({count} connections)")
        else:
            yield bad(role, "is not connected to the database", f"Start manage.py {role}; its log says why it ended.")


def workers() -> Iterator[Finding]:
    """What workers on all machines have reported within the last seconds."""
    reported = list(heard_within(WORKER_SILENT_AFTER))
    for worker in reported:
        if worker.problem is not None:
            advice = "Synchronize its machine with a time server (NTP); the worker then resumes by itself."
            if worker.paused_until is not None:
                advice = "Ask the exchange. Orders are accepted and wait; they are sent, oldest first, once it accepts one."
            yield bad(f"worker {worker.name}", worker.problem, advice)
    if reported:
        offset_s = max((worker.clock_offset_s or 0.0 for worker in reported), key=abs)
        yield judged(
            "clocks of workers",
            abs(offset_s),
            f"at most {offset_s:+.2f} s from the database's, of {len(reported)} process(es)",
            "Synchronize all machines with a time server (NTP). Beyond EXCHANGE_CLOCK_MARGIN a worker places no orders.",
            warn_above=settings.EXCHANGE_CLOCK_MARGIN / 4,
            bad_above=settings.EXCHANGE_CLOCK_MARGIN,
        )


def queue() -> Finding:
    now = database_now()
    age_s = system_status.queue_age_s(now)
    text = f"{system_status.due_count(now)} due, the oldest for {age_s:.0f} s"
    advice = "Workers are too slow or frozen: check their log and the exchange, and start more of them."
    return judged("queue", age_s, text, advice, warn_above=10, bad_above=60)


def feed() -> Iterator[Finding]:
    state = system_status.feed(timezone.now())
    if state is None or state.said_age_s > SILENT_AFTER.total_seconds():
        silent = "has never reported" if state is None else f"last reported {state.said_age_s:.0f} s ago"
        yield bad("feed", f"its follower {silent}", "Start manage.py run_update_consumer.")
    elif not state.is_connected:
        yield bad("feed", f"not connected: {state.problem}", "Check whether the exchange is running. The feed resumes by itself.")
    elif state.silent_s is not None:
        text = f"connected, but {state.behind or 0} report(s) of the exchange have not arrived for {state.silent_s:.0f} s"
        yield bad("feed", text, "Ask the exchange. Open orders are looked up once a minute until the feed delivers again.")
    elif state.behind is None:
        yield warn(
            "feed", "connected, in a session that is not followed yet", "Open orders are being looked up; check again soon."
        )
    else:
        text = f"connected, {state.behind} report(s) behind"
        advice = "It catches up by itself; if it does not, check the database's load."
        yield judged("feed", state.behind, text, advice, warn_above=1_000, bad_above=50_000)


def for_an_operator() -> Iterator[Finding]:
    for status in (Status.FAILED, Status.ERROR):
        if count := system_status.needing_operator(status):
            yield warn(
                f"orders in {status}", f"{count}", "The order desk decides, in the back office or with manage.py retry_failed."
            )
    if count := system_status.dead_letter_count():
        yield warn("dead letters", f"{count}", "Read their reasons in the back office, then run manage.py replay_reports.")
    if count := system_status.discrepancy_count():
        advice = "Read on each order's page what the exchange says; the back office lists them (attention: contradictions)."
        yield warn("contradictions", f"{count} order(s)", advice)
    for halt in halts_in_force():
        text = f"{halt} is halted, {how_far(halt)}: {halt.reason}"
        yield warn("halt", text, "End it with manage.py resume_trading once its reason is gone.")


def clients() -> Iterator[Finding]:
    """Proxies that failed to name the client of a request within the last ten minutes."""
    now = database_now().timestamp()
    for seen in RequestCount.objects.filter(rate=UNKNOWN_CLIENTS, ends_at__gt=now).order_by("who")[:10]:
        text = f"requests through {seen.who} do not name their client"
        advice = "They are throttled as one client: have the proxy append to X-Forwarded-For, and correct TRUSTED_PROXIES."
        yield bad("addresses of clients", text, advice)
