"""Run: one run's hold on one call in the journal, and the call as it is on record now."""

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
"""Epoch seconds, and seconds that only grow. One may stand still while the machine sleeps."""

_UNCONFIRMED = 2.0
"""Seconds after which a run makes sure that the call is still its own before it sends money."""


class Run:
    """What one run knows of its call.

    Attributes:
        call_key: the call's key on record.
        owner: this run's name; different for every run.
        record: the call as last seen on record.
        pending: whether there are signed bytes whose fate this run does not know.
    """

    def __init__(self, services: CallServices, call_key: str, owner: str) -> None:
        self._journal = services.journal
        self._clock = services.clock
        self.call_key = call_key
        self.owner = owner
        self.record: CallRecord
        self.pending = False
        self._seen: Moment = (0.0, 0.0)
        self._released = False  # the last step gave the call back

    @property
    def name(self) -> str:
        """The call's name in logs."""
        return self.call_key[:8]

    def now(self) -> Moment:
        """This moment, to be given to `hold`: take it before the journal is asked."""
        return self._clock.time(), self._clock.monotonic()

    def hold(self, record: CallRecord, asked: Moment) -> CallRecord:
        """Note that the call was this run's when the journal was asked, and what is on record."""
        self.call_key = record.call_key
        self.record = record
        self._seen = asked
        self._released = record.owner is None
        return record

    async def take(self) -> CallRecord | None:
        """Hold a call that somebody left unfinished; `None` if there is none to hold."""
        asked = self.now()
        record = await self._journal.take(self.call_key, owner=self.owner)
        return None if record is None else self.hold(record, asked)

    async def move(self, to: CallState, **columns: Any) -> bool:  # noqa: ANN401 - of the record
        """Record a step. False if the call is another worker's now; then nothing was written."""
        asked = self.now()
        record = await self._journal.move(self.call_key, owner=self.owner, to=to, **columns)
        if record is not None:
            self.hold(record, asked)
        return record is not None

    async def place(self, placement: Placement) -> None:
        """Record that the service accepted the call. A journal that fails now must not cost it."""
        numbers = ", ".join(map(mask_number, self.record.numbers))
        log.info("call %s to %s placed: %s", self.name, numbers, placement.request_id)
        accepted = asdict(placement)
        moved = False
        try:
            moved = await self.move("placed", request_id=placement.request_id, placement=accepted)
        except JournalError as trouble:
            log.error("call %s placed, unrecorded: %s", self.name, trouble)  # noqa: TRY400
        if not moved:
            self.record = replace(
                self.record, state="placed", request_id=placement.request_id, placement=accepted
            )

    async def is_mine(self) -> bool:
        """Whether the call is still this run's, asked of the journal only after a while.

        The machine may have slept since the last step, and another worker may have gone on.
        """
        while not self._is_sure():
            asked = self.now()
            if not await self._journal.holds(self.call_key, owner=self.owner):
                return False
            self._seen = asked
        return True

    def _is_sure(self) -> bool:
        """Whether the call was this run's a moment ago."""
        (wall, ticks), (now, ticks_now) = self._seen, self.now()
        return max(abs(now - wall), ticks_now - ticks) < _UNCONFIRMED

    async def release(self) -> None:
        """Let go of the call, however the run ends; also of a claim that was on its way."""
        if self._released:
            return
        with anyio.CancelScope(shield=True), suppress(JournalError):
            await self._journal.release(self.call_key, owner=self.owner)
