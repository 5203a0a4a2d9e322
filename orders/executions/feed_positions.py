"""The position of each follower of the exchange's feed, and the look-ups of open orders that missing reports call for."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from orders.models import FeedPosition, Order
from orders.states import OPEN_EXECUTION
from orders.transport import transport

# Frames that name no order may arrive in any number. They must not cause look-ups of all open orders again and again.
LOOK_UP_OPEN_INTERVAL = timedelta(minutes=1)
FIRST_ID = uuid.UUID(int=0)


def active_feed() -> str:
    """The name under which the feed is followed with the current transport."""
    return transport().feed


def load_position(feed: str) -> FeedPosition:
    return FeedPosition.objects.filter(feed=feed).first() or FeedPosition(feed=feed, session_id="", sequence=0)


def move_position(feed: str, session_id: str, sequence: int) -> None:
    save(feed, session_id=session_id, sequence=sequence, updated_at=timezone.now())


def open_at_exchange() -> QuerySet[Order]:
    """The orders that the exchange works on or may have."""
    return Order.objects.filter(Q(execution_status__in=OPEN_EXECUTION) | Q(may_be_at_exchange=True))


def look_up_open_orders(feed: str, now: datetime) -> None:
    """Have all orders that are open now looked up because reports are missing. This includes those of an earlier loss."""
    save(feed, look_up_open_at=now, look_up_open_after=None)


@transaction.atomic
def look_up_open_orders_soon(feed: str, now: datetime) -> None:
    """Have all open orders looked up, at most once a minute: an unreadable report may have been about any of them."""
    # Make sure that there is a row to lock.
    FeedPosition.objects.bulk_create([FeedPosition(feed=feed, session_id="", sequence=0)], ignore_conflicts=True)
    position = FeedPosition.objects.select_for_update().get(feed=feed)
    if position.look_up_open_at is None:
        began_at = position.look_up_open_began_at
        wanted_at = now if began_at is None else max(now, began_at + LOOK_UP_OPEN_INTERVAL)
        save(feed, look_up_open_at=wanted_at)


def save(feed: str, **values: Any) -> None:
    """Set these columns of the feed's position and leave the others, which other processes may be writing."""
    row = FeedPosition(**{"feed": feed, "session_id": "", "sequence": 0} | values)
    FeedPosition.objects.bulk_create([row], update_conflicts=True, unique_fields=["feed"], update_fields=list(values))
