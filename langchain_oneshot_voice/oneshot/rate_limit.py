"""RateLimit: what one wallet's requests know together of the service's rate limit.

A 429 with `Retry-After` is said to one request and meant for all of its wallet: each next one waits
until that time is over. They come back one after the other, over as long again; whoever still
waits then hears of the next 429. A payment that is signed never waits: it would come nearer to its
end. `Retry-After` may be anything, so no request waits for longer than a minute.
"""

from __future__ import annotations

import random
import time

import anyio

LONGEST_PAUSE = 30.0
"""Seconds that a service is left alone at its word."""


class RateLimit:
    """The pause that a wallet's requests make together. Lives on one event loop.

    Args:
        longest: seconds that a pause may be at the most.
    """

    def __init__(self, longest: float = LONGEST_PAUSE) -> None:
        self._longest = longest
        self._until = float("-inf")
        self._pause = 0.0

    def heed(self, retry_after: float) -> None:
        """Make a pause of so many seconds, or of the most that a pause may be."""
        pause = min(retry_after, self._longest)
        if time.monotonic() + pause > self._until:
            self._until, self._pause = time.monotonic() + pause, pause

    def left(self) -> float:
        """Seconds for which one more request is to wait; 0 if there is no pause."""
        left = self._until - time.monotonic()
        if left <= 0:
            return 0.0
        return left + self._pause * random.random()  # noqa: S311 - jitter, not a secret

    async def rest(self) -> None:
        """Wait until the pause is over, and for the turn of this request."""
        give_up = time.monotonic() + 2 * self._longest
        while (rest := min(self.left(), give_up - time.monotonic())) > 0:  # noqa: ASYNC110 - a time
            await anyio.sleep(rest)
