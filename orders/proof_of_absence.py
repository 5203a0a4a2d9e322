"""What proves that the exchange does not have an order, after a send without a clear answer. Pure.

Each send tells the exchange until when it may accept the order (`valid_until`). So an answer "no such order" proves the order's
absence only when the look-up began after the last of these times, plus a margin for the difference between the clocks: before
that, the send may still arrive. A look-up that fails proves nothing. An answer that a later send was refused, or certainly not
taken, proves it as well, since nothing is sent before earlier sends are resolved (`orders.lifecycle.refused`, `not_taken`).
"""

from datetime import datetime, timedelta

from orders.retry_policy import PlacementPolicy


def provable_from(sent_valid_until: datetime, policy: PlacementPolicy) -> datetime:
    """The time after which a look-up must begin so that "no such order" proves the order's absence."""
    return sent_valid_until + clock_margin(policy)


def clock_margin(policy: PlacementPolicy) -> timedelta:
    return timedelta(seconds=policy.clock_margin_s)
