"""The seeded price walk of one instrument."""

import zlib

# The largest change of one step, as a share of the price.
STEP = 0.004
# How far from its first limit order an unknown instrument's price may begin.
START_DISTANCE = 0.005
# The highest price that the protocol can write, 17 digits before the point.
HIGHEST_CENTS = 10**19 - 1


class PriceWalk:
    """A price in whole cents that moves only when asked to.

    Steps come from a checksum of seed, instrument and step number: the same seed gives the same walk, and an instrument
    takes a hundred bytes where its own random generator would take 2.5 KB.
    """

    __slots__ = ("_key", "_steps", "cents", "is_guess")

    def __init__(self, seed: int, instrument: str, near_cents: int | None = None) -> None:
        """Begin near the given price, or somewhere from 20 to 500 without one."""
        self._key = f"{seed}:{instrument}:".encode()
        self._steps = 0
        self.is_guess = near_cents is None
        start = self._draw()
        if near_cents is None:
            self.cents = 2_000 + int((start + 1) / 2 * 48_000)
        else:
            self.cents = min(max(1, near_cents + round(near_cents * START_DISTANCE * start)), HIGHEST_CENTS)

    def step(self) -> int:
        """Move by one step of at least one cent and return the new price, from one cent to the highest that can be written."""
        draw = self._draw()
        change = round(self.cents * STEP * draw) or (1 if draw >= 0 else -1)
        self.cents = min(max(1, self.cents + change), HIGHEST_CENTS)
        return self.cents

    def _draw(self) -> float:
        """The next number from -1 to 1."""
        self._steps += 1
        # crc32 alone changes too little between neighbouring step numbers; the multiplication (Knuth) spreads it.
        return ((zlib.crc32(b"%d" % self._steps, zlib.crc32(self._key)) * 2_654_435_761) & 0xFFFFFFFF) / 2**31 - 1
