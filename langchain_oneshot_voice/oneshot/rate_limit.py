"""RateLimit: the pause that all requests of one wallet make after a 429.

The service sends `Retry-After` to one request, but means the whole wallet: every later request
waits until the pause is over. Then the requests resume at random moments, spread over the same
time again, and those that still wait notice the next 429. A signed payment never waits, because it
would expire. `Retry-After` can be any number, so no request waits longer than a minute.
"""

from __future__ import annotations

import random
import time

import anyio

LONGEST_PAUSE = 30.0
"""Limit for a pause that the service asks for, in seconds."""


class RateLimit:
    """The common pause of a wallet's requests. Belongs to one event loop.

    Args:
        longest: limit for a pause, in seconds.
    """

    def __init__(self, longest: float = LONGEST_PAUSE) -> None:
        self._longest = longest
        self._until = float("-inf")
        self._pause = 0.0

    def pause_for(self, retry_after: float) -> None:
        """Pause all requests for this many seconds, or for the limit if that is shorter."""
        pause = min(retry_after, self._longest)
        if time.monotonic() + pause > self._until:
            self._until, self._pause = time.monotonic() + pause, pause

    def left(self) -> float:
        """Return how long one request has to wait from now, in seconds; 0 without a pause."""
        left = self._until - time.monotonic()
        if left <= 0:
            return 0.0
        return left + self._pause * random.random()  # noqa: S311 - jitter, not a secret

    async def wait(self) -> None:
        """Wait until this request may be sent."""
        deadline = time.monotonic() + 2 * self._longest
        # Look again after each sleep: another request may have received a 429 meanwhile.
        while (rest := min(self.left(), deadline - time.monotonic())) > 0:  # noqa: ASYNC110 - a time
            await anyio.sleep(rest)
