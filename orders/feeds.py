"""Where each follower of the exchange's feed stands, and the feed's sessions in the order in which they began."""

from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from orders.models import FeedPosition, FeedSession, OrderEvent

# Each transport's follower keeps a position of its own.
FEEDS = {"django_q": "exchange", "kafka": "exchange:kafka"}


def active_feed() -> str:
    """The name under which the feed is followed at present."""
    return FEEDS[settings.ORDER_TRANSPORT]


def load_position(feed: str) -> FeedPosition:
    return FeedPosition.objects.filter(feed=feed).first() or FeedPosition(feed=feed, session_id="", sequence=0)


def move_position(feed: str, session_id: str, sequence: int, *, reconcile_events_after: int | None = None) -> None:
    values = {
        "session_id": session_id,
        "sequence": sequence,
        "reconcile_events_after": reconcile_events_after,
        "updated_at": timezone.now(),
    }
    FeedPosition.objects.bulk_create(
        [FeedPosition(feed=feed, **values)], update_conflicts=True, unique_fields=["feed"], update_fields=list(values)
    )


def last_event() -> int:
    """Every event that is written from now on has a greater id."""
    return OrderEvent.objects.aggregate(last=Max("id"))["last"] or 0


def register_session(session_id: str) -> None:
    """Note that the exchange has this session now; called before any report of it can be applied."""
    FeedSession.objects.bulk_create([FeedSession(session_id=session_id)], ignore_conflicts=True)


def began_before(session_id: str, other: str) -> bool:
    """Whether `session_id` is known to be an earlier session than `other`."""
    began = dict(FeedSession.objects.filter(session_id__in=[session_id, other]).values_list("session_id", "id"))
    return session_id in began and other in began and began[session_id] < began[other]


def sessions_since(session_id: str) -> list[str]:
    """This session and those that began after it."""
    since = FeedSession.objects.filter(session_id=session_id).values("id")
    return [session_id, *FeedSession.objects.filter(id__gt=since[:1]).values_list("session_id", flat=True)]
