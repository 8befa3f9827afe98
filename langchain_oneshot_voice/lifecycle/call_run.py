"""CallRun: the life of one call, from request to result, exactly once.

    claim ─ quote ─ agree ─ sign ─ [bytes on disk] ─ send ─ [request id on disk] ─ wait ─ [result]

Each boundary is a row in the journal before the next step is taken, so that whatever dies on the
way, the next run under the same call key takes up where it ended. The promise: one call key is
paid at most once and rings at most once, and once it is paid its outcome is not lost. Where
nobody can know, that is said, and nothing is paid again.

The claim and the steps are recorded through `hold.py`; the price is agreed on in `agreement.py`;
what became of a payment is learned in `settlement.py`.
"""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import assert_never

import anyio

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.call_key import CallKey, fingerprint
from langchain_oneshot_voice.errors import CallRefusedError, VoiceCallError
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    Claim,
    DuplicateCall,
    JournalError,
    JournalUnavailableError,
    LeaseLost,
    NewCall,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    SpendLimitReached,
    SpendLimits,
)
from langchain_oneshot_voice.lifecycle.agreement import (
    Agreement,
    DeclinedError,
    headers_for,
    quote_of,
)
from langchain_oneshot_voice.lifecycle.hold import Hold
from langchain_oneshot_voice.lifecycle.settlement import (
    HeldByAccountError,
    LapsedError,
    Patience,
    Settlement,
)
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.oneshot.client import Offer, OneShotClient
from langchain_oneshot_voice.oneshot.results import Job, ResultFeed
from langchain_oneshot_voice.oneshot.wallet import SignedPayment, WalletKey
from langchain_oneshot_voice.outcome import read_result, was_answered
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import CallCost, VoiceCallInput, VoiceCallResult

log = logging.getLogger(__name__)

_QUICK_LOOK = 5.0
"""Seconds spent on an earlier call that nobody works on, to see whether its phone is free."""

_UNSIGNED = {"claimed", "quoted", "refused"}


@dataclass(frozen=True, slots=True)
class Lines:
    """What calls are made with."""

    client: OneShotClient
    feed: ResultFeed
    journal: CallJournal
    account: str
    policy: CallPolicy
    patience: Patience
    approval: Approval = "never"


class CallRun:
    """One worker's run of one call.

    Args:
        lines: what to make it with.
        key: which call it is.
        teller: told of each step.
        wait: seconds to wait for the outcome, and for an answer about a payment.
        tool_call_id: of the tool call that asked for it, for a person's question.
    """

    def __init__(
        self,
        lines: Lines,
        key: CallKey,
        teller: ProgressTeller,
        wait: float,
        tool_call_id: str | None = None,
    ) -> None:
        patience, policy = lines.patience, lines.policy
        self._lines = lines
        self._journal = lines.journal
        self._key = key
        self._teller = teller
        self._wait = wait
        self._deadline = time.monotonic() + wait
        self._hold = Hold(lines.journal, key.key, secrets.token_hex(8), patience.lease)
        self._settlement = Settlement(lines.client, self._hold, patience, wait)
        self._agreement = Agreement(
            lines.client,
            self._hold,
            policy,
            lines.approval,
            teller,
            tool_call_id,
            patience.account,
        )

    async def run(self, request: VoiceCallInput) -> VoiceCallResult:
        """From a request to its result, whoever brings it about.

        Raises:
            VoiceCallError: when the call did not happen, or nobody can know whether it did.
        """
        request = await self._screened(request)
        try:
            return await self._brought_about(request)
        except JournalUnavailableError as trouble:
            if not self._settlement.pending:
                raise
            log.error("call %s signed, unrecorded: %s", self._hold.name, trouble)  # noqa: TRY400
            raise wording.fate_unknown(None) from trouble

    async def finish(self) -> VoiceCallResult | None:
        """Bring a call that was signed before to its end; place nothing new.

        Returns:
            Its result; `None` when another worker holds it, or when nothing was or can be charged.

        Raises:
            VoiceCallError: when nobody can know what became of it.
        """
        hold = self._hold
        record = await self._journal.take(hold.call_key, owner=hold.owner, lease=hold.seconds)
        if record is None:
            return None
        with suppress(LapsedError, LeaseLost):
            async with hold.kept():
                if record.state not in _UNSIGNED:
                    return await self._outcome(await self._settled(record))
        return None

    async def _screened(self, request: VoiceCallInput) -> VoiceCallInput:
        """The request as the policy wants it.

        A call that was made before the policy, or the hour of the day, changed may still be asked
        for: its outcome is read, and nothing is placed.
        """
        policy = self._lines.policy
        try:
            return await anyio.to_thread.run_sync(policy.read_request, request)
        except VoiceCallError:
            earlier = await self._journal.read(self._key.key)
            if earlier is None or earlier.state in _UNSIGNED:
                raise
            return request

    async def _brought_about(self, request: VoiceCallInput) -> VoiceCallResult:
        """Claim the call until it is ours, or somebody's result."""
        call = self._new_call(request)
        pauses = self._lines.patience.pauses()
        while True:
            claim = await self._claimed(call)
            record, earlier = claim.record, None
            match claim.kind:
                case "mine":
                    try:
                        return await self._carry_through(record, call, request)
                    except HeldByAccountError as held:
                        self._agreement.held_by_account(held.refusal)
                    except (LapsedError, LeaseLost) as again:
                        log.info("call %s: %s", self._hold.name, type(again).__name__)
                    except DuplicateCall as duplicate:
                        earlier = await self._answer_of(duplicate.record)
                case "finished":
                    _require_same(record, call)
                    return self._result(record)
                case "held":
                    _require_same(record, call)
                    await self._bide(record, next(pauses))
                case "duplicate":
                    earlier = await self._answer_of(record)
                case "number_busy":
                    if not await self._has_ended(record):
                        raise wording.number_busy(record.numbers, record.request_id)
                case _:
                    assert_never(claim.kind)
            if earlier is not None:
                return earlier.model_copy(update={"reused": True})

    async def _claimed(self, call: NewCall) -> Claim:
        """Ask for the call. What a person was asked in an attempt before is not forgotten by it."""
        if self._lines.approval != "never":
            self._agreement.recall(await self._journal.read(call.call_key))
        return await self._journal.claim(
            call,
            owner=self._hold.owner,
            lease=self._hold.seconds,
            duplicate_window=_window(self._lines.policy),
            answers_for=self._key.answers_for,
        )

    async def _carry_through(
        self, record: CallRecord, call: NewCall, request: VoiceCallInput
    ) -> VoiceCallResult:
        """The call is ours: take it from wherever it is to its outcome."""
        async with self._hold.kept():
            _require_same(record, call)
            if record.state in _UNSIGNED:
                try:
                    record, offer = await self._agreement.reach(record, request)
                except DeclinedError as declined:
                    return self._declined(declined)
                if isinstance(offer, Placement):
                    record = await self._settlement.placed(record, offer)
                else:
                    record = await self._paid(record, offer)
            return await self._outcome(await self._settled(record))

    async def _paid(self, record: CallRecord, offer: Offer) -> CallRecord:
        """Check the terms, sign, put the exact bytes on disk, and send them."""
        async with self._hold.refusing():
            signed, until = self._sign(offer)
            try:
                record = await self._hold.signed(
                    signed.header if signed else None,
                    quote_id=offer.quote.quote_id,
                    valid_before=until,
                    amount=offer.quote.total,
                    limits=_limits(self._lines.policy),
                )
            except (NumberBusy, NumberSuppressed, NumberLimitReached, SpendLimitReached) as no:
                raise _guard_refusal(no) from None
        await self._teller.tell("paying")
        return await self._settlement.first_presented(record, self._headers(record))

    def _sign(self, offer: Offer) -> tuple[SignedPayment | None, float | None]:
        """Agree to the terms and sign; also until when, in epoch seconds, it can be charged."""
        cap, client = self._lines.policy.max_cost_per_call, self._lines.client
        expires = offer.quote.expires_at
        lapses = expires.timestamp() if expires else None
        if not isinstance(client.credential, WalletKey) or offer.required is None:
            payment.check_price(offer.quote, cap)
            return None, lapses
        terms = payment.agree(offer.required, offer.quote, client.environment.chain, cap)
        signed = client.credential.pay(terms, time.time())
        return signed, signed.valid_before or lapses

    async def _settled(self, record: CallRecord) -> CallRecord:
        return await self._settlement.settled(record, self._headers(record))

    async def _outcome(self, record: CallRecord) -> VoiceCallResult:
        """Wait for a placed call's end. From here on nothing but the end itself loses it."""
        request_id = record.request_id or ""
        await self._teller.tell("placed", request_id=request_id)

        async def seen(job: Job) -> None:
            if job["status"] not in {"completed", "failed"}:
                await self._teller.tell("in_progress")

        job = await self._lines.feed.wait(request_id, self._wait, seen)
        if job is None:
            return self._result(record)
        result = self._result(replace(record, job=job))
        try:
            await self._heed(record, result)
            await self._hold.done(job, answered=was_answered(result), charged=result.cost.charged)
        except JournalError as trouble:
            log.error("call %s ended, unrecorded: %s", self._hold.name, trouble)  # noqa: TRY400
        await self._teller.tell("completed")
        return result

    async def _heed(self, record: CallRecord, result: VoiceCallResult) -> None:
        """Whoever asked on the phone not to be called again is not called again."""
        from langchain_oneshot_voice.policy.opt_out import asks_not_to_be_called  # noqa: PLC0415 - slow

        wish = asks_not_to_be_called(result.transcript)
        if wish is not None:
            log.info("call %s: asked not to be called again", self._hold.name)
            await self._journal.suppress(record.numbers, f"said on the phone: {wish[:200]}")

    async def _bide(self, record: CallRecord, pause: float) -> None:
        """Another worker makes this very call: give it time, up to the deadline."""
        if time.monotonic() > self._deadline:
            raise wording.held_elsewhere(record.request_id)
        await anyio.sleep(min(pause, 1.0))

    async def _answer_of(self, earlier: CallRecord) -> VoiceCallResult | None:
        """The result of an earlier call for the same thing; `None` when it came to nothing."""
        for pause in self._lines.patience.pauses():
            left = max(self._deadline - time.monotonic(), 0.0)
            result = await self._run_of(earlier.call_key, left).finish()
            if result is not None:
                return result
            record = await self._journal.read(earlier.call_key)
            if record is None or record.state in _UNSIGNED:
                return None
            if record.state == "done" or (not left and record.state == "placed"):
                return self._result(record)
            await self._bide(record, pause)
        raise AssertionError  # pragma: no cover - pauses never end

    async def _has_ended(self, other: CallRecord) -> bool:
        """Whether a placed call that nobody works on has ended meanwhile: its phone is free."""
        if other.state == "placed":
            await self._run_of(other.call_key, _QUICK_LOOK).finish()
        record = await self._journal.read(other.call_key)
        return record is None or record.state in {"done", "refused"}

    def _run_of(self, call_key: str, wait: float) -> CallRun:
        silent = ProgressTeller(call_key, (), None, None)
        return CallRun(self._lines, CallKey(call_key), silent, wait)

    def _new_call(self, request: VoiceCallInput) -> NewCall:
        body = request.model_dump(exclude_none=True)
        why = {"goal": "voice_call", "goalId": self._key.key}
        return NewCall(
            call_key=self._key.key,
            account=self._lines.account,
            tenant=self._lines.policy.tenant,
            base_url=self._lines.client.environment.base_url,
            numbers=request.numbers,
            fingerprint=fingerprint(request),
            request=body | {"decisionContext": why},
        )

    def _headers(self, record: CallRecord) -> dict[str, str]:
        return headers_for(record, self._lines.policy)

    def _result(self, record: CallRecord) -> VoiceCallResult:
        return read_result(
            record.job or ({"status": "completed"} if record.state == "done" else {}),
            request_id=record.request_id,
            call_key=record.call_key,
            quote=quote_of(record),
        )

    def _declined(self, declined: DeclinedError) -> VoiceCallResult:
        return VoiceCallResult(
            call_status="rejected",
            approval_message=declined.message,
            cost=CallCost(quoted=declined.quote.total),
            quote=declined.quote,
            call_key=self._key.key,
        )


def _window(policy: CallPolicy) -> float:
    return policy.duplicate_window.total_seconds() if policy.duplicate_window else 0.0


def _limits(policy: CallPolicy) -> SpendLimits:
    return SpendLimits(
        max_cost_per_day=policy.max_cost_per_day,
        max_calls_per_number_per_day=policy.max_calls_per_number_per_day,
        duplicate_window=_window(policy),
    )


def _guard_refusal(
    guard: NumberBusy | NumberSuppressed | NumberLimitReached | SpendLimitReached,
) -> CallRefusedError:
    """The refusal of a call that a guard of the journal stopped. Nothing was signed."""
    match guard:
        case NumberBusy():
            return wording.number_busy(guard.record.numbers, guard.record.request_id)
        case NumberSuppressed():
            return wording.number_suppressed(guard.numbers)
        case NumberLimitReached():
            return wording.number_limit_reached(guard.number, guard.cap, guard.resets_at)
        case SpendLimitReached():
            return wording.daily_cost_limit_reached(
                guard.cap, guard.spent, guard.amount, guard.resets_at
            )


def _require_same(record: CallRecord, call: NewCall) -> None:
    """Require that the key stands for the call it stood for. A forgotten call has no fingerprint.

    Another wallet can neither look up what became of the first one's payment nor use it again, so
    it must not take the call over.
    """
    same_payer = record.account.lower() == call.account.lower()
    same_words = record.fingerprint in {call.fingerprint, ""}
    if not same_payer or record.base_url != call.base_url or not same_words:
        raise wording.key_reused()
