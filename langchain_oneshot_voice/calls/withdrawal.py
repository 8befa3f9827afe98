"""Withdrawal: cancels all calls of a group that are not signed yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Withdrawal:
    """Cancels calls before they are paid. Use it on one event loop only.

    A call with a signed payment is not cancelled; it continues to its end.

    Attributes:
        is_called: true once the calls are withdrawn.
    """

    def __init__(self) -> None:
        self.is_called = False
        self._steps: set[anyio.CancelScope] = set()

    def call(self) -> None:
        """Cancel every call that is not signed, and every call that starts later."""
        self.is_called = True
        for step in self._steps:
            step.cancel()

    @contextmanager
    def unsigned_step(self) -> Iterator[anyio.CancelScope]:
        """Enter a scope for a step that signs nothing. A withdrawal cancels the scope."""
        with anyio.CancelScope() as step:
            if self.is_called:
                step.cancel()
            self._steps.add(step)
            try:
                yield step
            finally:
                self._steps.discard(step)
