"""All reasons for which the service closes a connection; `docs/notifications.md` explains them to clients.

Codes below 4000 are defined by RFC 6455, section 7.4.1, and its registry. 4000 to 4999 are for applications: ours end like
the HTTP status with the same meaning. They are sent after the handshake, since a browser does not tell a page why a
handshake failed.
"""

from typing import NamedTuple


class CloseReason(NamedTuple):
    """The code and the reason of a close frame; a reason has at most 123 bytes."""

    code: int
    reason: str


STOPPING = CloseReason(1001, "The service is stopping: connect again.")
FRAME_TOO_LARGE = CloseReason(1009, "Frames from clients may have at most 1,024 bytes.")
INTERNAL_ERROR = CloseReason(1011, "The service failed: connect again, after your last event.")
DATABASE_UNAVAILABLE = CloseReason(1013, "The database is not available: connect again in a moment.")
TOO_MANY_CONNECTIONS = CloseReason(1013, "The service has reached its connection limit: connect again later.")
PERMISSIONS_CHANGED = CloseReason(1013, "What you may see has changed: connect again.")
FELL_BEHIND = CloseReason(1013, "The service fell behind: connect again, after your last event.")

FRAME_NOT_UNDERSTOOD = CloseReason(4400, 'The only frame that a client may send is the text {"type":"ping"}.')
ORIGIN_FORBIDDEN = CloseReason(4403, "Pages of this origin may not connect.")
NO_SUCH_ADDRESS = CloseReason(4404, "There is nothing here: connect to /ws/orders.")
NO_SUCH_EVENT = CloseReason(4404, "There is no such event: read GET /orders and connect without after.")
TOO_SLOW = CloseReason(4408, "You read too slowly: connect again, after your last event.")
RESUME_TOO_FAR = CloseReason(4409, "Too much has happened since that event: read GET /orders and connect without after.")
TOO_MANY_FAILURES = CloseReason(4429, "Too many wrong credentials came from this address: wait a minute.")
TOO_MANY_OF_ACCOUNT = CloseReason(4429, "This account has reached its connection limit.")


def bad_query(problem: str) -> CloseReason:
    return CloseReason(4400, problem)


def wrong_credentials(problem: str) -> CloseReason:
    return CloseReason(4401, problem)


class ConnectionRefused(Exception):
    """The connection must end, for the reason in `closing`."""

    def __init__(self, closing: CloseReason) -> None:
        super().__init__(f"{closing.code} {closing.reason}")
        self.closing = closing
