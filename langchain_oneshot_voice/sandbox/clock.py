"""The sandbox's clock: the system's time, plus the offset that a test has added.

Quotes, authorizations, proofs and approvals expire by this clock. Calls last in real time, and do
not depend on it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The system's time with an offset."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """Return the current time, in epoch seconds."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock forward.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError("a clock moves forward only")
        self._ahead += seconds


def iso(seconds: float) -> str:
    """Format a time as ISO 8601 in UTC, with milliseconds and a `Z`."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
