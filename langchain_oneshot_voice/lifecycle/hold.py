"""Hold: a worker's hold on one call in the journal, for as long as its lease lasts.

The journal's steps with the call's key and the worker's name filled in; the lease renewed while
work goes on; and a refusal recorded as one, so that the call may be asked for again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anyio

from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    DuplicateCall,
    JournalError,
    LeaseLost,
    SpendLimits,
)
from langchain_oneshot_voice.oneshot.answers import Placement

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hold:
    """One worker's hold on one call. A step by a worker that lost it raises `LeaseLost`."""

    journal: CallJournal
    call_key: str
    owner: str
    seconds: float
    """For how long the call stays held when the worker is not heard of."""

    @property
    def name(self) -> str:
        """The call's name in logs."""
        return self.call_key[:8]

    async def quoted(
        self,
        quote: dict[str, Any],
        *,
        quote_id: str | None,
        expires_at: float | None,
        request: dict[str, Any],
        numbers: tuple[str, ...],
    ) -> CallRecord:
        """Record what was offered, and for which request."""
        return await self.journal.quoted(
            self.call_key,
            owner=self.owner,
            quote=quote,
            quote_id=quote_id,
            quote_expires_at=expires_at,
            request=request,
            numbers=numbers,
        )

    async def signed(
        self,
        payment: str | None,
        *,
        quote_id: str,
        valid_before: float | None,
        amount: Decimal,
        limits: SpendLimits,
    ) -> CallRecord:
        """Record the exact bytes before they are sent, and reserve their amount."""
        return await self.journal.signed(
            self.call_key,
            owner=self.owner,
            payment=payment,
            quote_id=quote_id,
            valid_before=valid_before,
            amount=amount,
            limits=limits,
        )

    async def placed(self, placement: Placement) -> CallRecord:
        """Record the service's id of the call."""
        return await self.journal.placed(
            self.call_key,
            owner=self.owner,
            request_id=placement.request_id,
            receipt_id=placement.receipt_id,
        )

    async def done(
        self, job: dict[str, Any], *, answered: bool, charged: Decimal | None
    ) -> CallRecord:
        """Record the outcome."""
        return await self.journal.done(
            self.call_key, owner=self.owner, job=job, answered=answered, charged=charged
        )

    async def refused(self, code: str) -> CallRecord:
        """Record that nothing was or can be charged: the key may be claimed again."""
        return await self.journal.refused(self.call_key, owner=self.owner, error_code=code)

    async def unknown(self, code: str) -> CallRecord:
        """Record that nobody can know what became of the payment."""
        return await self.journal.unknown(self.call_key, owner=self.owner, error_code=code)

    async def taken_again(self) -> CallRecord:
        """Hold a call again that a step has let go of."""
        taken = await self.journal.take(self.call_key, owner=self.owner, lease=self.seconds)
        if taken is None:
            raise LeaseLost(self.call_key, self.owner)
        return taken

    async def _ended(self) -> bool:
        """Whether the call has ended, so that there is nothing left to hold."""
        record = await self.journal.read(self.call_key)
        return record is not None and record.state in {"done", "refused", "unknown"}

    @asynccontextmanager
    async def refusing(self) -> AsyncIterator[None]:
        """Record a no that comes before anything was sent, and hand it on."""
        try:
            yield
        except VoiceCallError as refusal:
            await self.refused(refusal.code)
            raise
        except DuplicateCall:
            await self.refused("duplicate")
            raise

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the lease alive while working; stop the work when it is lost; let go at the end."""
        lost: list[LeaseLost] = []

        async def renew(scope: anyio.CancelScope) -> None:
            while True:
                await asyncio.sleep(self.seconds / 3)
                try:
                    await self.journal.renew(self.call_key, owner=self.owner, lease=self.seconds)
                except LeaseLost as gone:
                    # A renewal can be queued behind this run's own last step, which drops the
                    # lease. Taking that for a loss would start an ended call over, and pay again.
                    if await self._ended():
                        return
                    lost.append(gone)
                    scope.cancel()
                    return
                except JournalError as trouble:
                    log.warning("call %s: lease not renewed: %s", self.name, trouble)

        with anyio.CancelScope() as scope:
            renewing = asyncio.create_task(renew(scope))
            try:
                yield
            finally:
                renewing.cancel()
                with anyio.CancelScope(shield=True), suppress(JournalError):
                    await self.journal.release(self.call_key, owner=self.owner)
        if lost:
            raise lost[0]
