"""The sandbox's clock: wall time, plus whatever a test has moved it forward.

Quotes, authorizations, proofs and approvals expire by this clock. How long a call takes does not
depend on it: that is real time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Wall time that can be moved forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def now(self) -> float:
        """The current time, in seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock forward; it never goes back.

        Raises:
            ValueError: when `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError("a clock moves forward only")
        self._ahead += seconds


def iso(seconds: float) -> str:
    """A moment as ISO 8601 in UTC, with milliseconds and a `Z`."""
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
