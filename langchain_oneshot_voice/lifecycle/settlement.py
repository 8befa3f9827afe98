"""Settlement: presenting a signed payment, and learning what became of it.

Why a lost answer is safe to ask for again: a signed payment carries a nonce that charges once, and
a quote is taken once. Only ever the same bytes are presented again; new ones may be signed only
when the old can't be charged any more and nothing shows that they were.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import anyio

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallRecord, JournalError
from langchain_oneshot_voice.lifecycle.hold import Hold
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.oneshot.client import (
    OneShotClient,
    PlacementUnansweredError,
    WeatherError,
)
from langchain_oneshot_voice.oneshot.wallet import WalletKey
from langchain_oneshot_voice.schemas import mask_number

T = TypeVar("T")
log = logging.getLogger(__name__)

_USED = "used"
"""The error code of a call whose payment or quote was used, and whose answer is not known."""

_QUOTE_GONE = {"http_404", "quote_not_found", "quote_expired", "not_found"}

_CLOCKS_DIFFER = 600.0
"""Seconds by which the service's clock may be behind the journal's."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with the service, with people and with other workers, in seconds."""

    lease: float = 30.0
    """For how long a worker that is not heard of keeps a call to itself."""
    settle: float = 60.0
    """After a payment has expired, before its absence among the receipts is believed."""
    unsent: float = 20.0
    """For how long a payment that never left this machine is tried to be sent."""
    account: float = 300.0
    """For how long an approval that the account's rules ask for is waited for."""
    pause: float = 0.25
    """Before looking again at what is not known yet; it grows from here to `longest_pause`."""
    longest_pause: float = 5.0
    at_cancel: float = 5.0
    """For how long a payment on its way is seen through when its caller is cancelled."""

    def pauses(self) -> Iterator[float]:
        """Seconds to rest between looks: growing, jittered, without end."""
        pause = self.pause
        while True:
            yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - jitter, not a secret
            pause = min(pause * 1.6, self.longest_pause)


class LapsedError(Exception):
    """A payment can't be charged any more, and was not: the call may start over."""


class HeldByAccountError(LapsedError):
    """The account's rules held the payment for a person's approval; it was not charged."""

    def __init__(self, refusal: VoiceCallError) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class Settlement:
    """What becomes of one call's payment, for one worker.

    Args:
        client: who is paid.
        hold: the worker's hold on the call.
        patience: how long to bear with trouble.
        wait: seconds in which to learn what became of a payment.
    """

    def __init__(self, client: OneShotClient, hold: Hold, patience: Patience, wait: float) -> None:
        self._client = client
        self._hold = hold
        self._patience = patience
        self._wait = wait
        self._started_over = False
        self.pending = False
        """Whether there are signed bytes whose fate this worker does not know."""

    async def first_presented(self, record: CallRecord, headers: Mapping[str, str]) -> CallRecord:
        """Send the payment for the first time; only now is a refusal surely about it.

        Returns:
            The record: placed, or signed when the answer was lost.

        Raises:
            VoiceCallError: the service said no; nothing was charged.
            LapsedError: the quote is gone, or is held: nothing was charged, ask for another.
        """
        self.pending = True
        give_up = time.monotonic() + self._patience.unsent
        for pause in self._patience.pauses():
            try:
                return await self._present(record, headers)
            except PlacementUnansweredError as lost:
                log.warning("call %s: paid, no answer yet (%s)", self._hold.name, lost.why)
                return record
            except WeatherError as unsent:
                if time.monotonic() > give_up:
                    await self._refused("service_unavailable")
                    raise wording.payment_not_sent(unsent.why) from None
                await anyio.sleep(pause)
            except VoiceCallError as refusal:
                await self._refused(refusal.code)
                if refusal.code == "approval_required":
                    raise HeldByAccountError(refusal) from None
                if self._is_stale_quote(refusal.code):
                    raise self._start_over(refusal) from None
                raise
        raise AssertionError  # pragma: no cover - pauses never end

    async def settled(self, record: CallRecord, headers: Mapping[str, str]) -> CallRecord:
        """Learn what became of a payment whose answer was lost, or was never waited for.

        Look for the call among the receipts; else present the same bytes again. Should they be
        refused now, that may be because of their first time, and means nothing by itself: only
        when they have expired, a complete list of receipts has no trace of them, and the service
        has never said that they were used, is it certain that nothing was charged.

        Returns:
            The record, placed.

        Raises:
            LapsedError: nothing was or can be charged.
            VoiceCallError: likewise, and it is not worth starting over; or nobody can know.
        """
        if record.state == "placed":
            return record
        self.pending = True
        deadline = time.monotonic() + self._wait
        for pause in self._patience.pauses():
            asked = 0.0
            over = (
                record.valid_before is not None
                and time.time() > record.valid_before + self._patience.settle
            )
            traceless = False
            try:
                found = await self._client.find_receipt(self._hold.call_key, _since(record))
                if found is not None:
                    return await self.placed(record, found)
                traceless = True
            except WeatherError as weather:
                asked = weather.retry_after or 0.0
            try:
                return await self._present(record, headers)
            except PlacementUnansweredError as lost:
                asked = max(asked, lost.retry_after or 0.0)
                if lost.used and record.error_code != _USED:
                    record = await self._remember_used()
            except WeatherError:
                pass
            except VoiceCallError as refusal:
                if over and traceless and record.error_code != _USED:
                    await self._refused(f"lapsed: {refusal.code}")
                    raise self._start_over(refusal) from None
            left = deadline - time.monotonic()
            if left < 0:
                break
            await anyio.sleep(max(pause, min(asked, left)))
        await self._hold.unknown(record.error_code or "unanswered")
        raise wording.fate_unknown(record.request_id)

    async def placed(self, record: CallRecord, placement: Placement) -> CallRecord:
        """Record the request id. A journal that fails now must not cost the outcome."""
        numbers = ", ".join(map(mask_number, record.numbers))
        log.info("call %s to %s placed: %s", self._hold.name, numbers, placement.request_id)
        try:
            return await self._hold.placed(placement)
        except JournalError as trouble:
            log.error("call %s placed, unrecorded: %s", self._hold.name, trouble)  # noqa: TRY400
            return replace(record, state="placed", request_id=placement.request_id)

    async def _present(self, record: CallRecord, headers: Mapping[str, str]) -> CallRecord:
        """Send the recorded bytes, the first time or again, and record the acceptance."""

        async def send() -> CallRecord:
            placement = await self._client.place(
                record.request,
                headers,
                record.quote_id or "",
                record.payment,
                proved=record.payment is not None and payment.is_signed(record.payment),
            )
            return await self.placed(record, placement)

        return await _seen_through(send(), self._patience.at_cancel)

    async def _remember_used(self) -> CallRecord:
        """Put on disk that an attempt went through: from now on nothing starts this call over.

        The service may forget a quote that was used, and say later that it never was.
        """
        await self._hold.unknown(_USED)
        return await self._hold.taken_again()

    def _is_stale_quote(self, code: str) -> bool:
        """Whether another quote may be taken where this one was not.

        It has gone; or the credits that it counts on were spent by another call meanwhile, and a
        wallet can pay the rest.
        """
        spent = code == "insufficient_credits" and isinstance(self._client.credential, WalletKey)
        return spent or code in _QUOTE_GONE

    async def _refused(self, code: str) -> None:
        self.pending = False
        await self._hold.refused(code)

    def _start_over(self, refusal: VoiceCallError) -> Exception:
        """Once: a service that refuses every fresh quote is not to be asked for ever."""
        if self._started_over:
            return refusal
        self._started_over = True
        return LapsedError(refusal.code)


def _since(record: CallRecord) -> float:
    """No receipt of this attempt is older."""
    return (record.signed_at or record.created_at) - _CLOCKS_DIFFER


async def _seen_through(work: Coroutine[Any, Any, T], grace: float) -> T:
    """Await `work`; when cancelled, let it run for up to `grace` seconds more, and then stop it."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task}, timeout=grace)
        task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await task
        raise
