"""Backoff: how long to wait before each retry or poll."""

from __future__ import annotations

import random

_GROWTH = 1.6

_LARGEST_EXPONENT = 50
"""Keeps the power far below the largest float, however long a call is polled."""


def backoff(attempt: int, first: float, longest: float) -> float:
    """Return a pause that grows exponentially, with jitter of 30 percent.

    Args:
        attempt: zero for the first pause, and one more for each pause after it.
        first: the first pause, in seconds.
        longest: the limit for a pause before jitter, in seconds.
    """
    pause = min(first * _GROWTH ** min(attempt, _LARGEST_EXPONENT), longest)
    # Without jitter, clients that failed together would retry together.
    return pause * random.uniform(0.7, 1.3)  # noqa: S311 - jitter, not a secret
