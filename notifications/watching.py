"""Following the notification service from a terminal, as any client could: it needs no database, only an address."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
from yarl import URL

from infrastructure.backoff import Backoff
from notifications.closings import NO_SUCH_EVENT, ORIGIN_FORBIDDEN, RESUME_TOO_FAR

PATH = "/ws/orders"
CONNECT_S = 10.0
CLOSE_WAIT = aiohttp.ClientWSTimeout(ws_close=1.0)
# How many heartbeats may be missing before the connection counts as dead.
MISSED_HEARTBEATS = 3
FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 30.0
# Connecting again would end the same way. Not so 4429: other connections of the account may end.
FINAL_CODES = {4400, 4401, ORIGIN_FORBIDDEN.code, NO_SUCH_EVENT.code, RESUME_TOO_FAR.code}


class WatchError(Exception):
    """The service refuses this client, and trying again would not help."""


class ConnectionEnded(Exception):
    """The connection was lost, or could not be made."""


async def watch(
    url: str, token: str | None, after: str | None, *, show: Callable[[dict[str, Any]], None], tell: Callable[[str], None]
) -> None:
    """`show` every event message, for ever; `tell` reports on the connection. Raises WatchError.

    After a lost connection it resumes after the last event, so that none is missed; one may come twice.
    """
    address = service_address(url)
    backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
    while True:
        try:
            async for message in messages(address, token, after):
                if message["type"] == "hello":
                    backoff.reset()
                    tell(f"connected as {message['account']}" + ", seeing all accounts" * message["sees_all"])
                    after = message["after"]
                elif "event_id" in message:
                    show(message)
                    after = message["event_id"]
        except ConnectionEnded as end:
            # With jitter, so that not all clients return at once after a restart of the service.
            delay_s = backoff.next_s()
            tell(f"{end}; connecting again in {delay_s:.1f} s")
            await asyncio.sleep(delay_s)


async def messages(address: URL, token: str | None, after: str | None) -> AsyncIterator[dict[str, Any]]:
    """The messages of one connection. Raises ConnectionEnded at its end, or WatchError if connecting again would not help."""
    headers = {} if token is None else {"Authorization": f"Token {token}"}
    silence_s = CONNECT_S
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)) as http,
            http.ws_connect(
                address if after is None else address.update_query(after=after), headers=headers, timeout=CLOSE_WAIT
            ) as socket,
        ):
            while True:
                frame = await socket.receive(silence_s)
                if frame.type != aiohttp.WSMsgType.TEXT:
                    raise ended(frame)
                message = orjson.loads(frame.data)
                silence_s = MISSED_HEARTBEATS * message.get("heartbeat_s", silence_s / MISSED_HEARTBEATS)
                yield message
    except aiohttp.WSServerHandshakeError as error:
        if 400 <= error.status < 500:
            raise WatchError(f"{address} answered {error.status}: it is not a notification service") from error
        raise ConnectionEnded(f"the server answered {error.status}") from error
    except TimeoutError as error:
        raise ConnectionEnded("no message was received for too long") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionEnded(str(error) or type(error).__name__) from error


def ended(frame: aiohttp.WSMessage) -> Exception:
    """The error for a frame that is not a text message."""
    if frame.type != aiohttp.WSMsgType.CLOSE:
        return ConnectionEnded("the connection was lost")
    problem = f"closed by the service: {frame.extra} ({frame.data})"
    return WatchError(problem) if frame.data in FINAL_CODES else ConnectionEnded(problem)


def service_address(url: str) -> URL:
    """The address of the stream, for a `url` that may name only the service. Raises WatchError."""
    try:
        address = URL(url)
    except ValueError as error:
        raise WatchError(f"{url} is not an address: {error}") from error
    if address.scheme not in {"ws", "wss", "http", "https"} or not address.host:
        raise WatchError(f"{url} is not an address such as ws://127.0.0.1:8001")
    return address if address.path not in {"", "/"} else address.with_path(PATH)


def line(message: dict[str, Any]) -> str:
    """An event as one line of text."""
    order = message["order"]
    words = [message["occurred_at"], f"{message['type']:<16}", message["order_id"], message["client_order_id"], order["status"]]
    if order["execution_status"] is not None:
        words.append(order["execution_status"])
    if order["filled_quantity"]:
        words.append(f"{order['filled_quantity']} @ {order['average_price']}")
    if order["error_code"] is not None:
        words.append(f"{order['error_code']}: {order['error_message']}")
    # Text from the exchange may contain terminal control sequences.
    return "".join(character if character.isprintable() else "?" for character in "  ".join(words))
