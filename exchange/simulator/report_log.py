"""The retained part of the execution feed: the newest reports of the current session as encoded WebSocket frames."""

from exchange.simulator.book import Report

# Drop old frames once they are this fraction (1/10) too many, because dropping from the front of a list moves all the rest.
TRIM_SHARE = 10


class ReportLog:
    """Frames by sequence, without gaps: at most `retention` of them, plus a tenth."""

    def __init__(self, retention: int) -> None:
        self._retention = retention
        self._frames: list[bytes] = []
        self._times: list[float] = []
        self.first_sequence = 1

    @property
    def last_sequence(self) -> int:
        """The newest sequence; one less than the first while there are no reports."""
        return self.first_sequence + len(self._frames) - 1

    def append(self, report: Report) -> None:
        """Add the next report of the session."""
        self._frames.append(text_frame(report.payload))
        self._times.append(report.occurred_at)
        surplus = len(self._frames) - self._retention
        if surplus > self._retention // TRIM_SHARE:
            del self._frames[:surplus]
            del self._times[:surplus]
            self.first_sequence += surplus

    def clear(self) -> None:
        """Begin a new session."""
        self._frames.clear()
        self._times.clear()
        self.first_sequence = 1

    def frames_after(self, sequence: int, most: int, occurred_before: float) -> list[bytes]:
        """At most `most` frames after a sequence, as far as old enough to be sent. The sequence must not precede the log."""
        start = sequence + 1 - self.first_sequence
        end = min(start + most, len(self._frames))
        while end > start and self._times[end - 1] > occurred_before:
            end -= 1
        return self._frames[start:end]

    def occurred_at(self, sequence: int) -> float | None:
        """When a report occurred (Unix seconds); None when the log does not have it."""
        index = sequence - self.first_sequence
        return self._times[index] if 0 <= index < len(self._times) else None


def text_frame(payload: bytes) -> bytes:
    """One final, unmasked text frame, as a server sends it (RFC 6455, 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
