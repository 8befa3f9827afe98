"""Run: one run's ownership of a call in the journal, and its copy of the call's record."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import anyio

from langchain_oneshot_voice.call_states import CallState
from langchain_oneshot_voice.calls.services import CallServices
from langchain_oneshot_voice.journal import CallRecord, JournalError
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.schemas import mask_number

log = logging.getLogger(__name__)

Moment = tuple[float, float]
"""Wall-clock time in epoch seconds, and monotonic seconds. Both are kept because the monotonic
clock may stop while the machine sleeps, and the wall clock may be set back."""

_CONFIRMED_FOR = 2.0
"""How long a confirmed ownership is trusted, in seconds. After that, the journal is asked again
before money is sent."""


class Run:
    """One run's view of its call.

    Attributes:
        call_key: the call's key in the journal.
        owner: this run's unique name.
        record: the last known record of the call.
        payment_open: true while this run does not know whether signed bytes were taken.
    """

    def __init__(self, services: CallServices, call_key: str, owner: str) -> None:
        self._journal = services.journal
        self._clock = services.clock
        self.call_key = call_key
        self.owner = owner
        self.record: CallRecord
        self.payment_open = False
        self._confirmed_at: Moment = (0.0, 0.0)
        self._released = False  # the last step already gave up the ownership

    @property
    def name(self) -> str:
        """The short name of the call for logs."""
        return self.call_key[:8]

    def now(self) -> Moment:
        """Return the current time for `confirm`. Call it before the journal is asked."""
        return self._clock.time(), self._clock.monotonic()

    def confirm(self, record: CallRecord, asked: Moment) -> CallRecord:
        """Store the record, and that this run owned the call at the time `asked`."""
        self.call_key = record.call_key
        self.record = record
        self._confirmed_at = asked
        self._released = record.owner is None
        return record

    async def take(self) -> CallRecord | None:
        """Take over a call that another run left unfinished; `None` if there is none."""
        asked = self.now()
        record = await self._journal.take(self.call_key, owner=self.owner)
        return None if record is None else self.confirm(record, asked)

    async def move(self, to: CallState, **columns: Any) -> bool:  # noqa: ANN401 - columns of the record
        """Record a state. Return false, and write nothing, if another worker owns the call now."""
        asked = self.now()
        record = await self._journal.move(self.call_key, owner=self.owner, to=to, **columns)
        if record is not None:
            self.confirm(record, asked)
        return record is not None

    async def place(self, placement: Placement) -> None:
        """Record that the service accepted the call. If the journal fails, the run continues."""
        numbers = ", ".join(map(mask_number, self.record.numbers))
        log.info("call %s to %s placed: %s", self.name, numbers, placement.request_id)
        accepted = asdict(placement)
        moved = False
        try:
            moved = await self.move("placed", request_id=placement.request_id, placement=accepted)
        except JournalError as error:
            log.error("call %s placed, unrecorded: %s", self.name, error)  # noqa: TRY400
        if not moved:
            # The phone will ring, so this run waits for the outcome even without a record.
            self.record = replace(
                self.record, state="placed", request_id=placement.request_id, placement=accepted
            )

    async def is_owner(self) -> bool:
        """Return whether this run still owns the call. Ask the journal only if it may have changed.

        If the machine slept since the last step, another worker may have taken over.
        """
        while not self._is_recently_confirmed():
            asked = self.now()
            if not await self._journal.holds(self.call_key, owner=self.owner):
                return False
            self._confirmed_at = asked
        return True

    def _is_recently_confirmed(self) -> bool:
        """Return whether the ownership was confirmed a moment ago, by both clocks."""
        (wall, ticks), (now, ticks_now) = self._confirmed_at, self.now()
        return max(abs(now - wall), ticks_now - ticks) < _CONFIRMED_FOR

    async def release(self) -> None:
        """Give up the ownership. Also undoes a claim that was cancelled while it was written."""
        if self._released:
            return
        with anyio.CancelScope(shield=True), suppress(JournalError):
            await self._journal.release(self.call_key, owner=self.owner)
