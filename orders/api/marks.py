"""What the short way leaves in META of a request that it passes on. No header can be called so."""

# The request is counted for its account's rate.
COUNTED = "lemon_market.counted"
# Something stood in the way of storing the order at once.
TRIED = "lemon_market.tried"
