"""Signing a payment, presenting it, and learning its fate.

Why a lost answer is safe to ask for again: a signed payment carries a nonce that charges once, and
a quote is taken once. Only the same bytes are ever presented again. New ones are signed only when
the old can't be charged any more and nothing shows that they were.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.calls import states as s
from langchain_oneshot_voice.calls.price_leg import PriceLeg, goal_of, headers_for, stands
from langchain_oneshot_voice.calls.results import guard_refusal, quote_of
from langchain_oneshot_voice.calls.run import Run
from langchain_oneshot_voice.calls.services import CallServices
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import (
    CallRecord,
    DuplicateCall,
    Guard,
    JournalError,
    JournalUnavailableError,
    NumberFeePaid,
    SpendLimits,
)
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.client import Offer, PlacementUnansweredError
from langchain_oneshot_voice.oneshot.transport import WeatherError
from langchain_oneshot_voice.oneshot.wallet import SignedPayment, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller

T = TypeVar("T")
log = logging.getLogger(__name__)

_QUOTE_GONE = {"http_404", "quote_not_found", "quote_expired", "not_found"}

NO_CREDITS = "insufficient_credits"
"""The service's code for credits that do not cover what was to be paid with them."""

_FEE_PAUSE = 0.5
"""Longest pause, in seconds, between looks at a call that pays for the wallet's number."""

_CLOCKS_DIFFER = 2 * 3600.0
"""Seconds by which the service's clock may be behind the journal's; clocks jump by an hour."""


class PaymentLeg:
    """One run's payment.

    Attributes:
        started_over: whether this run has asked for another price after a payment came to nothing.
        unsent: whether this run signed, or was about to, and nothing has left this machine.
    """

    def __init__(
        self, services: CallServices, run: Run, teller: ProgressTeller, wait: float
    ) -> None:
        self._services = services
        self._client = services.client
        self._clock = services.clock
        self._run = run
        self._teller = teller
        self._wait = wait
        self._pauses = services.timing.pauses()
        self._deadline: float | None = None
        self._ends_at: dict[float, float] = {}
        self._one_number_fee = True
        self.started_over = False
        self.unsent = False

    async def sign(
        self, state: s.Agreed, price: PriceLeg
    ) -> s.OnRecord | s.OfferOver | s.SameCall | s.Refusal | s.Overtaken:
        """Judge once more, check the terms, sign, and put the exact bytes on record."""
        offer = state.offer
        if not price.is_fresh(offer) and not stands(offer.quote, self._clock.time()):
            return s.OfferOver()
        # As long as the call that pays for the number may be without an answer.
        give_up = self._clock.monotonic() + self._services.timing.payment
        for pause in self._services.timing.pauses():
            refusal = await price.judged_again()
            if self._services.withdrawal.is_called:
                refusal = wording.withdrawn()
            if refusal is not None:
                return s.Refusal(refusal)
            try:
                answer = await self._sign(offer)
            except VoiceCallError as wrong_terms:
                return s.Refusal(wrong_terms)
            match answer:
                case None:
                    return s.Overtaken()
                case CallRecord():
                    self._run.pending = True
                    await self._teller.tell("paying")
                    return s.OnRecord()
                case DuplicateCall():
                    return s.SameCall(answer.record)
                case NumberFeePaid(settled=False):
                    if self._clock.monotonic() > give_up:
                        self._one_number_fee = False
                    await self._clock.sleep(min(pause, _FEE_PAUSE))
                case NumberFeePaid():
                    self._one_number_fee = False  # a service that wants it again gets it
                    return s.OfferOver()
                case _:
                    return s.Refusal(guard_refusal(self._run.record, answer))
        raise AssertionError  # pragma: no cover - pauses never end

    async def _sign(self, offer: Offer) -> CallRecord | Guard | None:
        """Check the terms, sign, and put the bytes on record if no guard is against it.

        Raises:
            VoiceCallError: when the terms are wrong.
        """
        signed, until = self._signed(offer)
        limits = _limits(self._services.policy)
        asked = self._run.now()
        self.unsent = True
        try:
            answer = await self._services.journal.sign(
                self._run.call_key,
                owner=self._run.owner,
                payment=signed.header if signed else None,
                valid_before=until,
                amount=offer.quote.total,
                limits=replace(limits, one_number_fee=self._one_number_fee),
                number_fee=offer.quote.phone_registration_fee,
            )
        except JournalUnavailableError as trouble:
            # Bytes that are on record are presented by the next run, or by a recovery.
            self._run.pending = trouble.maybe_recorded
            raise
        self.unsent = isinstance(answer, CallRecord)
        if isinstance(answer, CallRecord):
            self._run.hold(answer, asked)
        return answer

    async def present(
        self, state: s.Signed
    ) -> s.Accepted | s.Silence | s.PaymentRefused | s.NeverSent | s.TimeUp | s.Overtaken:
        """Send the recorded bytes, or learn what became of those that were sent."""
        self._run.pending = True
        over = self._is_over()
        return await (self._learn(state, over=over) if state.sent else self._send())

    async def _send(
        self,
    ) -> s.Accepted | s.Silence | s.PaymentRefused | s.NeverSent | s.Overtaken:
        """First send. A refusal here is about this payment."""
        give_up = self._clock.monotonic() + self._services.timing.payment_unsent
        for pause in self._services.timing.pauses():
            if not await self._run.is_mine():
                return s.Overtaken()
            try:
                return await self._present()
            except PlacementUnansweredError as lost:
                log.warning("call %s: paid, no answer yet (%s)", self._run.name, lost.why)
                return s.Silence()
            except WeatherError as unsent:
                if self._clock.monotonic() > give_up:
                    self._run.pending = False
                    return s.NeverSent(wording.payment_not_sent(unsent.why))
                await self._clock.sleep(pause)
            except VoiceCallError as refusal:
                self._run.pending = False
                return s.PaymentRefused(
                    refusal, self._is_stale(refusal.code), proven=True, again=self._may_start_over
                )
        raise AssertionError  # pragma: no cover - pauses never end

    async def withdraw(self) -> None:
        """Take a payment that was never sent off the record, so that nobody sends it later."""
        if not self.unsent:
            return
        with anyio.CancelScope(shield=True), suppress(JournalError):
            record = await self._services.journal.read(self._run.call_key)
            if record is not None and record.state == "signed":
                await self._run.move("refused", error_code="interrupted")

    async def _learn(
        self, state: s.Signed, *, over: bool
    ) -> s.Accepted | s.Silence | s.PaymentRefused | s.TimeUp | s.Overtaken:
        """Look for the call among the receipts; else present the same bytes once more.

        A refusal now may be because of the first time, and means nothing by itself. Only if the
        authorization has expired, a complete list of receipts has no trace of it, and the service
        never said that it was used, is it certain that nothing was charged.
        """
        if self._deadline is None:
            self._deadline = self._clock.monotonic() + self._wait
        if not await self._run.is_mine():
            return s.Overtaken()
        record, asked, used, traceless = self._run.record, 0.0, False, False
        try:
            found = await self._client.find_receipt(goal_of(record), _since(record))
            if found is not None:
                await self._run.place(found)
                return s.Accepted(found)
            traceless = True
            over = over and self._is_over_there()
        except WeatherError as weather:
            asked = weather.retry_after or 0.0
        if not await self._run.is_mine():
            return s.Overtaken()
        try:
            return await self._present()
        except PlacementUnansweredError as lost:
            asked, used = max(asked, lost.retry_after or 0.0), lost.used
        except WeatherError:
            pass
        except VoiceCallError as refusal:
            if over and traceless and not state.used:
                self._run.pending = False
                again = self._may_start_over
                return s.PaymentRefused(refusal, stale=False, proven=True, again=again)
        if used and not state.used and not await self._remember_used():
            return s.Overtaken()
        left = self._deadline - self._clock.monotonic()
        if left < 0:
            return s.TimeUp()
        await self._clock.sleep(max(next(self._pauses), min(asked, left)))
        return s.Silence(used)

    def _is_over(self) -> bool:
        """Whether the payment that is on record can't be charged any more.

        The time left is read off the clock once, and then counted: a clock that jumps ahead while
        the payment is on its way ends nothing.
        """
        until = self._run.record.valid_before
        if until is None:
            return False
        if until not in self._ends_at:
            left = until + self._services.timing.payment_expired - self._clock.time()
            self._ends_at[until] = self._clock.monotonic() + left
        return self._clock.monotonic() > self._ends_at[until]

    def _is_over_there(self) -> bool:
        """Whether it is so by the service's clock, too: this machine's may be ahead.

        Neither is believed alone. A service that lies about the time gets no second payment.
        """
        until, told = self._run.record.valid_before, self._client.service_time
        settled = (until or 0.0) + self._services.timing.payment_expired
        return told is None or told > settled

    async def _present(self) -> s.Accepted:
        """Send the recorded bytes, the first time or again, and record the acceptance."""

        async def send() -> s.Accepted:
            record = self._run.record
            quote = quote_of(record)
            first, self.unsent = self.unsent, False
            try:
                placement = await self._client.place(
                    record.request,
                    headers_for(record, self._services.policy.max_cost_per_call),
                    quote.quote_id if quote else "",
                    record.payment,
                    proved=record.payment is not None and payment.is_signed(record.payment),
                )
            except WeatherError as weather:
                self.unsent = first and weather.unsent
                raise
            await self._run.place(placement)
            return s.Accepted(placement)

        await anyio.lowlevel.checkpoint_if_cancelled()  # what is not on its way yet stays here
        return await _seen_through(send(), self._services.timing.payment_cancelled)

    async def _remember_used(self) -> bool:
        """Put on record that an attempt went through: from now on nothing starts this call over.

        The service may forget a quote that was used, and say later that it never was.
        """
        if not await self._run.move("unknown", error_code=s.USED):
            return False
        return await self._run.take() is not None

    def _signed(self, offer: Offer) -> tuple[SignedPayment | None, float | None]:
        """Check the terms and sign; also until when, in epoch seconds, it can be charged."""
        cap, client = self._services.policy.max_cost_per_call, self._client
        expires = offer.quote.expires_at
        lapses = expires.timestamp() if expires else None
        if not isinstance(client.credential, WalletKey) or offer.required is None:
            payment.check_price(offer.quote, cap)
            return None, self._no_sooner(lapses)
        terms = payment.agree(offer.required, offer.quote, client.environment.chain, cap)
        signed = client.credential.pay(terms, self._clock.time())
        return signed, signed.valid_before or self._no_sooner(lapses)

    def _no_sooner(self, lapses: float | None) -> float | None:
        """When a payment that nobody signed is over: a quote's end may be any time at all."""
        soonest = self._clock.time() + payment.LONGEST_AUTHORIZATION
        return None if lapses is None else max(lapses, soonest)

    def _is_stale(self, code: str) -> bool:
        """Whether another quote may be taken where this one was not.

        It has gone; or the credits that it counts on were spent by another call meanwhile, and a
        wallet can pay the whole.
        """
        by_wallet = isinstance(self._client.credential, WalletKey)
        return code in _QUOTE_GONE or (by_wallet and code == NO_CREDITS)

    @property
    def _may_start_over(self) -> bool:
        """Once: a service that refuses every fresh quote is not asked for ever."""
        return not self.started_over


def _since(record: CallRecord) -> float:
    """No receipt of this attempt is older."""
    return (record.signed_at or record.created_at) - _CLOCKS_DIFFER


def _limits(policy: CallPolicy) -> SpendLimits:
    window = policy.duplicate_window
    return SpendLimits(
        max_cost_per_day=policy.max_cost_per_day,
        max_calls_per_number_per_day=policy.max_calls_per_number_per_day,
        duplicate_window=window.total_seconds() if window else 0.0,
    )


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
