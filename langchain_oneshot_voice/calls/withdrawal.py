"""Withdrawal: taking back calls that nothing was signed for, many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Withdrawal:
    """Ends calls before they are paid. Lives on one event loop.

    A call whose payment is signed is not ended: it is seen through.

    Attributes:
        is_called: whether the calls are withdrawn.
    """

    def __init__(self) -> None:
        self.is_called = False
        self._steps: set[anyio.CancelScope] = set()

    def call(self) -> None:
        """Withdraw every call that is not signed, and those that are still to begin."""
        self.is_called = True
        for step in self._steps:
            step.cancel()

    @contextmanager
    def unsigned_step(self) -> Iterator[anyio.CancelScope]:
        """Run a step in which nothing is signed; a withdrawal cancels it."""
        with anyio.CancelScope() as step:
            if self.is_called:
                step.cancel()
            self._steps.add(step)
            try:
                yield step
            finally:
                self._steps.discard(step)
