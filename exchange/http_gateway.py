"""The gateway to an exchange over HTTP: POST, GET and DELETE on /orders.

The point of this module is the line between `Unavailable` and `Unknown`. It reports an order as not taken only when the
exchange says so in a form that nothing else would send, or when provably no byte of it was written to a connection.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from exchange import untrusted
from exchange.gateway import (
    Acknowledged,
    CancelOutcome,
    CancelRequested,
    CancelTooLate,
    Contradiction,
    Found,
    LookUpOutcome,
    NotFound,
    Placement,
    PlacementOutcome,
    Refused,
    TermsConflict,
    Unavailable,
    Unknown,
)
from exchange.reports import OrderStatus
from exchange.untrusted import BadValue

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
# A longer Retry-After is cut to this, so that a wrong or hostile answer cannot park an order for a day.
MAX_RETRY_AFTER_S = 300.0
TERMS = ("account", "type", "side", "instrument", "limit_price", "quantity")
HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(slots=True)
class _Progress:
    """How far a request got, as told by the connection pool's trace signals."""

    is_connecting: bool = False
    may_be_sent: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose status line arrived. `document` is None unless a complete JSON object of at most 64 KiB came with it."""

    status: int
    retry_after_s: float | None
    document: dict[str, Any] | None
    problem: str = ""
    raw: str = ""

    def reason(self) -> str | None:
        """The exchange's reason; None when the answer is not the exchange's own, such as a proxy's HTML page."""
        try:
            return untrusted.read_reason(self.document or {})
        except BadValue:
            return None

    def unbelievable(self) -> Unknown:
        return Unknown(f"status {self.status}: {self.problem or 'not a valid answer in the protocol'}")


class _CleanConnector(aiohttp.TCPConnector):
    """A pool that discards an idle connection on which unexpected bytes arrived.

    The library would mistake those bytes for the answer to the next request: a stray 503 would then report an order as not
    taken that is on its way to the book.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (inherited)
    ) -> "Connection":
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


class HttpGateway:
    """Place, look up and cancel over HTTP/1.1 with persistent connections, for use on one event loop.

    A call ends within `timeout_s`; at most `connect_timeout_s` of that is spent on a new connection. `max_connections`
    should be at least the number of concurrent calls: a call that finds no free connection in time is `Unavailable`.
    If a kept connection turns out to be closed, the client library repeats GET and DELETE once, but never POST.
    """

    def __init__(
        self, url: str, timeout_s: float, *, connect_timeout_s: float = 2.0, max_connections: int = 512, keepalive_s: float = 15.0
    ) -> None:
        self._orders_url = url.rstrip("/") + "/orders"
        self._timeout_s = timeout_s
        self._connect_timeout_s = min(connect_timeout_s, timeout_s)
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._session: aiohttp.ClientSession | None = None

    async def place(self, placement: Placement) -> PlacementOutcome:
        """Send a new order, once: repeating it is the caller's decision."""
        body = orjson.dumps(
            {
                "client_order_id": placement.client_order_id,
                "account": placement.account,
                "type": placement.type,
                "side": placement.side,
                "instrument": placement.instrument,
                "limit_price": None if placement.limit_price is None else format(placement.limit_price, "f"),
                "quantity": placement.quantity,
                "valid_until": untrusted.rfc3339(placement.valid_until),
            }
        )
        answer = await self._send("POST", self._orders_url, placement.client_order_id, body)
        if not isinstance(answer, _Answer):
            return answer
        if answer.status in (200, 201):
            return _read_acknowledgement(answer)
        if answer.status == 429 or (answer.status == 503 and answer.document and answer.document.get("placed") is False):
            return Unavailable(answer.reason() or f"status {answer.status}", answer.retry_after_s)
        reason = answer.reason()
        if answer.status == 422 and reason is not None:
            return Refused(reason)
        if answer.status == 409 and reason is not None:
            return TermsConflict(reason)
        return answer.unbelievable()

    async def look_up(self, placement: Placement) -> LookUpOutcome:
        """Ask for the order by its id. Unavailable and Unknown both prove nothing about the order."""
        answer = await self._send("GET", self._order_url(placement.client_order_id), placement.client_order_id)
        if not isinstance(answer, _Answer):
            return answer
        if answer.status == 200:
            return _read_order(answer, placement)
        if answer.status == 404 and answer.reason() is not None:
            return NotFound()
        if answer.status == 429:
            return Unavailable(answer.reason() or "status 429", answer.retry_after_s)
        return answer.unbelievable()

    async def cancel(self, client_order_id: str) -> CancelOutcome:
        """Ask the exchange to cancel; asking twice is harmless."""
        answer = await self._send("DELETE", self._order_url(client_order_id), client_order_id)
        if not isinstance(answer, _Answer):
            return answer
        if answer.status == 202:
            return CancelRequested()
        if answer.status in (429, 503):
            return Unavailable(answer.reason() or f"status {answer.status}", answer.retry_after_s)
        reason = answer.reason()
        if answer.status == 404 and reason is not None:
            return NotFound()
        if answer.status == 409 and reason is not None:
            return CancelTooLate(reason)
        return answer.unbelievable()

    async def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _order_url(self, client_order_id: str) -> str:
        # A dot is escaped too: "." and ".." are path segments with a meaning of their own (RFC 3986, 5.2.4).
        return f"{self._orders_url}/{quote(client_order_id, safe='').replace('.', '%2E')}"

    def _open_session(self) -> aiohttp.ClientSession:
        """Return the session, opened at the first call because a connection pool belongs to a running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_CleanConnector(limit=self._max_connections, keepalive_timeout=self._keepalive_s),
                # We time the whole call (asyncio.timeout): the library would round the total up and restart it for the body.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout_s, ceil_threshold=float("inf")),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trace_configs=[_progress_trace()],
                headers=HEADERS,
            )
        return self._session

    async def _send(
        self, method: str, url: str, client_order_id: str, body: bytes | None = None
    ) -> _Answer | Unavailable | Unknown:
        progress = _Progress()
        session = self._open_session()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                session.request(
                    method, URL(url, encoded=True), data=body, allow_redirects=False, trace_request_ctx=progress
                ) as response,
            ):
                answer = await _read_answer(response)
        except Exception as error:
            if not isinstance(error, aiohttp.ClientError | OSError):
                # Whatever broke after the first byte, the exchange may have the order: that is an outcome, not a crash.
                logger.exception("unforeseen failure of a request to the exchange")
            what = untrusted.printable(f"{method}: {str(error) or type(error).__name__}")
            # The library may have sent a look-up before it repeated it on a new connection, which makes no difference.
            cannot_connect = method == "GET" and isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            if progress.may_be_sent and not cannot_connect:
                return Unknown(what)
            return Unavailable(what, exchange_is_unavailable=progress.is_connecting)
        named = (answer.document or {}).get("client_order_id", client_order_id)
        return answer if named == client_order_id else Unknown(f"status {answer.status}: an answer about another order")


def _progress_trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()

    async def connecting(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx.is_connecting = True

    async def connected(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx.may_be_sent = True

    trace.on_connection_create_start.append(connecting)
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


async def _read_answer(response: aiohttp.ClientResponse) -> _Answer:
    """Read a body of bounded size. If it is cut off or invalid the status still counts: 429 needs no body, all others do."""
    retry_after_s = read_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                response.close()
                return _Answer(response.status, retry_after_s, None, f"body over {MAX_BODY_BYTES} bytes")
        return _Answer(response.status, retry_after_s, untrusted.load_object(bytes(body)), raw=untrusted.text_of(bytes(body)))
    except (aiohttp.ClientError, OSError, BadValue) as error:
        return _Answer(response.status, retry_after_s, None, untrusted.printable(f"bad body: {error}"))


def read_retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait from a Retry-After header, a delay or an HTTP date (RFC 9110, 10.2.3), from 0 to MAX_RETRY_AFTER_S.

    None when the header is missing or is neither.
    """
    if header is None:
        return None
    header = header.strip()
    if header.isascii() and header.isdigit():
        # Check the length first: int() refuses very long numbers.
        return MAX_RETRY_AFTER_S if len(header) > 9 else min(float(header), MAX_RETRY_AFTER_S)
    try:
        moment = parsedate_to_datetime(header)
        # An HTTP date is always in GMT, and "-0000" is parsed as a time without a zone.
        delay_s = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return max(0.0, min(delay_s, MAX_RETRY_AFTER_S))


def _read_acknowledgement(answer: _Answer) -> Acknowledged | Unknown:
    document = answer.document
    if document is None or "client_order_id" not in document:
        return answer.unbelievable()
    try:
        return Acknowledged(untrusted.read_identifier(document, "exchange_order_id"))
    except BadValue as error:
        return Unknown(f"status {answer.status}: {error}")


def _read_order(answer: _Answer, placement: Placement) -> Found | TermsConflict | Contradiction | Unknown:
    document = answer.document
    if document is None or "client_order_id" not in document:
        return answer.unbelievable()
    try:
        different = [name for name in TERMS if name in document and _read_term(document, name) != getattr(placement, name)]
        if different:
            reason = "the exchange has this id with other terms: " + ", ".join(different)
            return TermsConflict(reason, answer.raw)
        status, filled_quantity = _read_status(document), untrusted.read_whole_number(document, "filled_quantity")
        _check_filled_quantity(status, filled_quantity, placement.quantity)
        return Found(
            untrusted.read_identifier(document, "exchange_order_id"),
            status.value,
            filled_quantity,
            untrusted.read_average_price(document, filled_quantity),
            untrusted.read_identifier(document, "session_id"),
            untrusted.read_whole_number(document, "last_sequence"),
            answer.raw,
        )
    except BadValue as error:
        return Contradiction(untrusted.printable(str(error)), answer.raw)


def _read_status(document: dict[str, Any]) -> OrderStatus:
    status = untrusted.read_identifier(document, "status")
    if status not in list(OrderStatus):
        raise BadValue("status is not one of " + ", ".join(OrderStatus))
    return OrderStatus(status)


def _check_filled_quantity(status: OrderStatus, filled_quantity: int, quantity: int) -> None:
    if filled_quantity > quantity:
        raise BadValue(f"filled_quantity is {filled_quantity}, but {quantity} were ordered")
    if status is OrderStatus.FILLED and filled_quantity < quantity:
        raise BadValue(f"status is filled, but filled_quantity is {filled_quantity} of {quantity}")


def _read_term(document: dict[str, Any], name: str) -> str | int | Decimal | None:
    if name == "limit_price":
        return untrusted.read_price(document, name)
    if name == "quantity":
        return untrusted.read_whole_number(document, name, minimum=1)
    return untrusted.read_identifier(document, name, untrusted.MAX_REASON_LENGTH)
