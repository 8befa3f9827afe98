"""Signs a payment, sends it, and finds out whether it was taken.

Why it is safe to send again after a lost answer: a signed payment has a nonce that can be charged
once, and a quote can be used once. Only the same bytes are sent again. New bytes are signed only if
the old ones can't be charged any more, and there is no sign that they were charged.
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
from langchain_oneshot_voice.calls.price_leg import PriceLeg, goal_of, headers_for, is_usable
from langchain_oneshot_voice.calls.results import guard_refusal, quote_of
from langchain_oneshot_voice.calls.run import Run
from langchain_oneshot_voice.calls.services import CallServices, duplicate_seconds
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
from langchain_oneshot_voice.oneshot.transport import NoVerdictError
from langchain_oneshot_voice.oneshot.wallet import SignedPayment, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressReporter

T = TypeVar("T")
log = logging.getLogger(__name__)

_QUOTE_GONE = {"http_404", "quote_not_found", "quote_expired", "not_found"}

NO_CREDITS = "insufficient_credits"
"""The service's code for credits that no longer cover their part of the price."""

_FEE_POLL = 0.5
"""Longest polling interval while another call pays for the wallet's number, in seconds."""

_CLOCK_SKEW = 2 * 3600.0
"""Tolerance for a service clock behind the journal's, in seconds; clocks may jump by an hour."""


class PaymentLeg:
    """The payment steps of one run.

    Attributes:
        started_over: true if this run has requested a new quote after a failed payment.
        unsent: true if this run has signed, or is about to sign, and has sent nothing yet.
    """

    def __init__(
        self, services: CallServices, run: Run, reporter: ProgressReporter, wait: float
    ) -> None:
        self._services = services
        self._client = services.client
        self._clock = services.clock
        self._run = run
        self._reporter = reporter
        self._wait = wait
        self._pauses = services.timing.pauses()
        self._deadline: float | None = None
        self._expiry: dict[float, float] = {}
        self._one_number_fee = True
        self.started_over = False
        self.unsent = False

    async def sign(
        self, state: s.Agreed, price: PriceLeg
    ) -> s.OnRecord | s.OfferOver | s.SameCall | s.Refusal | s.Overtaken:
        """Check the policy again, check the terms, sign, and record the exact bytes."""
        offer = state.offer
        if not price.is_fresh(offer) and not is_usable(offer.quote, self._clock.time()):
            return s.OfferOver()
        # Another call of this wallet may be paying for its phone number, which should be paid once.
        # Wait for that call as long as its payment may wait for an answer.
        give_up_at = self._clock.monotonic() + self._services.timing.payment
        for pause in self._services.timing.pauses():
            refusal = await price.screen_again()
            if self._services.withdrawal.is_called:
                refusal = wording.withdrawn()
            if refusal is not None:
                return s.Refusal(refusal)
            try:
                answer = await self._sign_and_record(offer)
            except VoiceCallError as wrong_terms:
                return s.Refusal(wrong_terms)
            match answer:
                case None:
                    return s.Overtaken()
                case CallRecord():
                    self._run.payment_open = True
                    await self._reporter.report("paying")
                    return s.OnRecord()
                case DuplicateCall():
                    return s.SameCall(answer.record)
                case NumberFeePaid(settled=False):
                    if self._clock.monotonic() > give_up_at:
                        self._one_number_fee = False
                    await self._clock.sleep(min(pause, _FEE_POLL))
                case NumberFeePaid():
                    self._one_number_fee = False  # if the new quote has the fee again, pay it
                    return s.OfferOver()
                case _:
                    return s.Refusal(guard_refusal(self._run.record, answer))
        raise AssertionError  # pragma: no cover - pauses never end

    async def _sign_and_record(self, offer: Offer) -> CallRecord | Guard | None:
        """Check the terms, sign, and record the bytes if no guard refuses.

        Returns:
            The record; or the guard that refuses; `None` if another worker owns the call.

        Raises:
            VoiceCallError: the terms are wrong.
            JournalUnavailableError: the bytes may or may not be recorded.
        """
        signed, until = self._sign_terms(offer)
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
        except JournalUnavailableError as error:
            # If the bytes were recorded, the next run or a recovery will send them.
            self._run.payment_open = error.maybe_recorded
            raise
        self.unsent = isinstance(answer, CallRecord)
        if isinstance(answer, CallRecord):
            self._run.confirm(answer, asked)
        return answer

    async def present(
        self, state: s.Signed
    ) -> s.Accepted | s.NoVerdict | s.PaymentRefused | s.NeverSent | s.TimeUp | s.Overtaken:
        """Send the recorded bytes, or find out whether bytes that were sent before were taken."""
        self._run.payment_open = True
        # Also needed on the first send: it starts the monotonic countdown.
        expired = self._has_expired()
        return await (
            self._resolve_fate(state, expired=expired) if state.sent else self._send_first()
        )

    async def _send_first(
        self,
    ) -> s.Accepted | s.NoVerdict | s.PaymentRefused | s.NeverSent | s.Overtaken:
        """Send for the first time. A refusal here is about this payment."""
        give_up_at = self._clock.monotonic() + self._services.timing.payment_unsent
        for pause in self._services.timing.pauses():
            if not await self._run.is_owner():
                return s.Overtaken()
            try:
                return await self._present()
            except PlacementUnansweredError as lost:
                log.warning("call %s: paid, no answer yet (%s)", self._run.name, lost.why)
                return s.NoVerdict()
            except NoVerdictError as unsent:
                if self._clock.monotonic() > give_up_at:
                    self._run.payment_open = False
                    return s.NeverSent(wording.payment_not_sent(unsent.why))
                await self._clock.sleep(pause)
            except VoiceCallError as refusal:
                self._run.payment_open = False
                return s.PaymentRefused(
                    refusal,
                    self._is_stale_quote(refusal.code),
                    proven=True,
                    again=self._may_start_over,
                )
        raise AssertionError  # pragma: no cover - pauses never end

    async def cancel_unsent(self) -> None:
        """Mark a payment that was never sent as refused, so that no later run sends it."""
        if not self.unsent:
            return
        with anyio.CancelScope(shield=True), suppress(JournalError):
            record = await self._services.journal.read(self._run.call_key)
            if record is not None and record.state == "signed":
                await self._run.move("refused", error_code="interrupted")

    async def _resolve_fate(
        self, state: s.Signed, *, expired: bool
    ) -> s.Accepted | s.NoVerdict | s.PaymentRefused | s.TimeUp | s.Overtaken:
        """Search the receipts for the call; if it is not there, send the same bytes again.

        A refusal of a re-send may only mean that the first send was accepted. It is certain that
        nothing was charged only if the authorization has expired, the complete list of receipts
        does not contain it, and the service never reported that it was used.
        """
        if self._deadline is None:
            self._deadline = self._clock.monotonic() + self._wait
        if not await self._run.is_owner():
            return s.Overtaken()
        record, retry_after, used, no_receipt = self._run.record, 0.0, False, False
        try:
            placement = await self._client.find_receipt(goal_of(record), _oldest_receipt(record))
            if placement is not None:
                await self._run.place(placement)
                return s.Accepted(placement)
            no_receipt = True
            expired = expired and self._has_expired_at_service()
        except NoVerdictError as error:
            retry_after = error.retry_after or 0.0
        # The search may have taken long enough for another worker to take over.
        if not await self._run.is_owner():
            return s.Overtaken()
        try:
            return await self._present()
        except PlacementUnansweredError as lost:
            retry_after, used = max(retry_after, lost.retry_after or 0.0), lost.used
        except NoVerdictError:
            pass
        except VoiceCallError as refusal:
            if expired and no_receipt and not state.used:
                self._run.payment_open = False
                again = self._may_start_over
                return s.PaymentRefused(refusal, stale=False, proven=True, again=again)
        if used and not state.used and not await self._record_used():
            return s.Overtaken()
        left = self._deadline - self._clock.monotonic()
        if left < 0:
            return s.TimeUp()
        await self._clock.sleep(max(next(self._pauses), min(retry_after, left)))
        return s.NoVerdict(used)

    def _has_expired(self) -> bool:
        """Return whether the recorded payment can't be charged any more, by this machine's clock.

        The wall clock is read once; after that, monotonic time counts. So a clock that jumps ahead
        while the payment is in flight does not make it expire.
        """
        until = self._run.record.valid_before
        if until is None:
            return False
        if until not in self._expiry:
            left = until + self._services.timing.payment_expired - self._clock.time()
            self._expiry[until] = self._clock.monotonic() + left
        return self._clock.monotonic() > self._expiry[until]

    def _has_expired_at_service(self) -> bool:
        """Return whether the payment has expired by the service's clock too.

        Both clocks must agree, because this machine's clock may be ahead, and a service that
        reports a false time must not get a second payment.
        """
        until, service_time = self._run.record.valid_before, self._client.service_time
        settled = (until or 0.0) + self._services.timing.payment_expired
        return service_time is None or service_time > settled

    async def _present(self) -> s.Accepted:
        """Send the recorded bytes, for the first time or again, and record the acceptance."""

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
            except NoVerdictError as error:
                self.unsent = first and error.unsent
                raise
            await self._run.place(placement)
            return s.Accepted(placement)

        await anyio.lowlevel.checkpoint_if_cancelled()  # if cancelled, do not start to send
        return await _await_with_grace(send(), self._services.timing.payment_cancelled)

    async def _record_used(self) -> bool:
        """Record that an attempt succeeded, so that no run starts this call over.

        The service may delete its record of a used quote, and later report that it was never used.
        Return false if another worker owns the call.
        """
        if not await self._run.move("unknown", error_code=s.USED):
            return False
        return await self._run.take() is not None

    def _sign_terms(self, offer: Offer) -> tuple[SignedPayment | None, float | None]:
        """Check the terms and sign. Also return the last time of a charge, in epoch seconds."""
        cap, client = self._services.policy.max_cost_per_call, self._client
        expires = offer.quote.expires_at
        quote_expires = expires.timestamp() if expires else None
        if not isinstance(client.credential, WalletKey) or offer.required is None:
            payment.check_price(offer.quote, cap)
            return None, self._unsigned_expiry(quote_expires)
        terms = payment.agree(offer.required, offer.quote, client.environment.chain, cap)
        signed = client.credential.pay(terms, self._clock.time())
        return signed, signed.valid_before or self._unsigned_expiry(quote_expires)

    def _unsigned_expiry(self, quote_expires: float | None) -> float | None:
        """Return when a payment without a signature expires, in epoch seconds.

        A quote may name any end, so use at least the lifetime of the longest authorization.
        """
        soonest = self._clock.time() + payment.LONGEST_AUTHORIZATION
        return None if quote_expires is None else max(quote_expires, soonest)

    def _is_stale_quote(self, code: str) -> bool:
        """Return whether a new quote may be accepted although this one was not.

        That is so if the quote no longer exists. It is also so if another call spent the credits
        that the quote uses: then a wallet can pay the full price.
        """
        by_wallet = isinstance(self._client.credential, WalletKey)
        return code in _QUOTE_GONE or (by_wallet and code == NO_CREDITS)

    @property
    def _may_start_over(self) -> bool:
        """True once per run, so that a service that refuses every quote does not cause a loop."""
        return not self.started_over


def _oldest_receipt(record: CallRecord) -> float:
    """Return the earliest possible time of a receipt for this attempt, in epoch seconds."""
    return (record.signed_at or record.created_at) - _CLOCK_SKEW


def _limits(policy: CallPolicy) -> SpendLimits:
    return SpendLimits(
        max_cost_per_day=policy.max_cost_per_day,
        max_calls_per_number_per_day=policy.max_calls_per_number_per_day,
        duplicate_window=duplicate_seconds(policy),
    )


async def _await_with_grace(work: Coroutine[Any, Any, T], grace: float) -> T:
    """Await `work`. After a cancellation, give it up to `grace` more seconds, then cancel it."""
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
