"""CallRun: the life of one call, from request to result, exactly once.

    claim ─ quote ─ check ─ sign ─ [bytes on disk] ─ send ─ [request id on disk] ─ wait ─ [result]

Each boundary is a row in the journal before the next step is taken, so that whatever dies on the
way, the next run under the same call key takes up where it ended. The promise: one call key is
paid at most once and rings at most once, and once it is paid its outcome is not lost. Where
nobody can know, that is said, and nothing is paid again.

Why a lost answer is safe to ask for again: a signed payment carries a nonce that charges once, and
a quote is taken once. Only ever the same bytes are presented again; new ones are signed only when
the old can't be charged any more and no receipt shows that they were.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar, assert_never

import anyio

from langchain_oneshot_voice.call_key import CallKey, fingerprint
from langchain_oneshot_voice.errors import (
    CallRefusedError,
    CallUnknownError,
    InvalidCallError,
    ServiceUnavailableError,
    VoiceCallError,
)
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    DuplicateCall,
    JournalError,
    LeaseLost,
    NewCall,
    NumberBusy,
    NumberLimitReached,
    SpendLimitReached,
    SpendLimits,
)
from langchain_oneshot_voice.oneshot import payment
from langchain_oneshot_voice.oneshot.answers import Placement, read_quote
from langchain_oneshot_voice.oneshot.client import (
    Offer,
    OneShotClient,
    PlacementUnansweredError,
    WeatherError,
)
from langchain_oneshot_voice.oneshot.results import Job, ResultFeed
from langchain_oneshot_voice.oneshot.wallet import SignedPayment, WalletKey
from langchain_oneshot_voice.outcome import read_result, was_answered
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult, mask_number

T = TypeVar("T")
log = logging.getLogger(__name__)

_QUOTE_MARGIN = 15.0
"""Seconds before a kept quote's end in which it is not taken any more."""

_QUICK_LOOK = 5.0
"""Seconds spent on an earlier call that nobody works on, to see whether its phone is free."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with the service and with other workers, in seconds."""

    lease: float = 30.0
    """For how long a worker that is not heard of keeps a call to itself."""
    settle: float = 60.0
    """After a payment has expired, before its absence among the receipts is believed."""
    unsent: float = 20.0
    """For how long a payment that never left this machine is tried to be sent."""
    pause: float = 0.25
    """Before looking again at what is not known yet; it grows from here to `longest_pause`."""
    longest_pause: float = 5.0
    at_cancel: float = 5.0
    """For how long a payment on its way is seen through when its caller is cancelled."""


@dataclass(frozen=True, slots=True)
class Lines:
    """What calls are made with."""

    client: OneShotClient
    feed: ResultFeed
    journal: CallJournal
    account: str
    policy: CallPolicy
    patience: Patience


class _LapsedError(Exception):
    """A payment can't be charged any more, and was not: the call may start over."""


class CallRun:
    """One worker's run of one call.

    Args:
        lines: what to make it with.
        key: which call it is.
        teller: told of each step.
        wait: seconds to wait for the outcome, and for an answer about a payment.
    """

    def __init__(self, lines: Lines, key: CallKey, teller: ProgressTeller, wait: float) -> None:
        self._lines = lines
        self._client = lines.client
        self._journal = lines.journal
        self._patience = lines.patience
        self._key = key
        self._teller = teller
        self._wait = wait
        self._deadline = time.monotonic() + wait
        self._owner = secrets.token_hex(8)

    # The story ------------------------------------------------------------------------------

    async def run(self, request: VoiceCallInput) -> VoiceCallResult:
        """From a request to its result, whoever brings it about.

        Raises:
            VoiceCallError: when the call did not happen, or nobody can know whether it did.
        """
        call = self._new_call(request)
        pauses = _pauses(self._patience)
        while True:
            claim = await self._journal.claim(
                call,
                owner=self._owner,
                lease=self._patience.lease,
                duplicate_window=_window(self._lines.policy),
                answers_for=self._key.answers_for,
            )
            record, earlier = claim.record, None
            match claim.kind:
                case "mine":
                    try:
                        return await self._carry_through(record, call)
                    except (_LapsedError, LeaseLost) as again:
                        log.info("call %s: %s", self._key.key[:8], type(again).__name__)
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
                        raise _number_busy(record)
                case _:
                    assert_never(claim.kind)
            if earlier is not None:
                return earlier.model_copy(update={"reused": True})

    async def finish(self) -> VoiceCallResult | None:
        """Bring a call that was signed before to its end; place nothing new.

        Returns:
            Its result; `None` when another worker holds it, or when nothing was or can be charged.

        Raises:
            VoiceCallError: when nobody can know what became of it.
        """
        record = await self._journal.take(
            self._key.key, owner=self._owner, lease=self._patience.lease
        )
        if record is None:
            return None
        with suppress(_LapsedError, LeaseLost):
            async with self._leased():
                if record.state in {"claimed", "quoted"}:
                    return None
                return await self._outcome(await self._settled(record))
        return None

    async def _carry_through(self, record: CallRecord, call: NewCall) -> VoiceCallResult:
        """The call is ours: take it from wherever it is to its outcome."""
        async with self._leased():
            _require_same(record, call)
            if record.state in {"claimed", "quoted"}:
                record = await self._pay(*await self._quoted(record))
            return await self._outcome(await self._settled(record))

    async def _quoted(self, record: CallRecord) -> tuple[CallRecord, Offer | None]:
        """Have a price: the one that was given before, while it stands, or a new one."""
        if record.quote is not None and time.time() + _QUOTE_MARGIN < (
            record.quote_expires_at or 0
        ):
            return record, self._client.read_offer(record.quote)
        async with self._refusing():
            offer = await self._client.quote(record.request, self._headers())
        if isinstance(offer, Placement):
            log.warning("call %s was placed without being quoted", self._key.key[:8])
            return await self._placed(record, offer), None
        expires = offer.quote.expires_at
        record = await self._journal.quoted(
            self._key.key,
            owner=self._owner,
            quote=offer.source,
            quote_id=offer.quote.quote_id,
            quote_expires_at=expires.timestamp() if expires else None,
        )
        await self._teller.tell("quoted", cost=offer.quote.total, quote=offer.quote)
        return record, offer

    async def _pay(self, record: CallRecord, offer: Offer | None) -> CallRecord:
        """Check the terms, sign, put the exact bytes on disk, and send them."""
        if offer is None:
            return record
        async with self._refusing():
            signed, until = self._sign(offer)
            try:
                record = await self._journal.signed(
                    self._key.key,
                    owner=self._owner,
                    payment=signed.header if signed else None,
                    quote_id=offer.quote.quote_id,
                    valid_before=until,
                    amount=offer.quote.total,
                    limits=_limits(self._lines.policy),
                )
            except NumberBusy as busy:
                raise _number_busy(busy.record) from None
            except (SpendLimitReached, NumberLimitReached) as limit:
                raise _limit_reached(limit) from None
        await self._teller.tell("paying")
        return await self._first_presented(record)

    def _sign(self, offer: Offer) -> tuple[SignedPayment | None, float | None]:
        """Agree to the terms and sign; also until when, in epoch seconds, it can be charged."""
        cap, credential = self._lines.policy.max_cost_per_call, self._client.credential
        expires = offer.quote.expires_at
        lapses = expires.timestamp() if expires else None
        if not isinstance(credential, WalletKey) or offer.required is None:
            payment.check_price(offer.quote, cap)
            return None, lapses
        chain = self._client.environment.chain
        terms = payment.agree(offer.required, offer.quote, chain, cap)
        signed = credential.pay(terms, time.time())
        return signed, signed.valid_before or lapses

    async def _first_presented(self, record: CallRecord) -> CallRecord:
        """Send the payment for the first time; only now is a refusal surely about it."""
        give_up = time.monotonic() + self._patience.unsent
        for pause in _pauses(self._patience):
            try:
                return await self._present(record)
            except PlacementUnansweredError as lost:
                log.warning("call %s: paid, no answer yet (%s)", self._key.key[:8], lost.why)
                return record
            except WeatherError as unsent:
                if time.monotonic() > give_up:
                    await self._refused("service_unavailable")
                    raise ServiceUnavailableError(
                        f"The phone service could not be reached: {unsent.why}.",
                        advice="The payment was not sent and no phone rang. Try again later.",
                    ) from None
                await anyio.sleep(pause)
            except VoiceCallError as refusal:
                await self._refused(refusal.code)
                if refusal.code in _QUOTE_GONE:
                    raise _LapsedError from refusal
                raise
        raise AssertionError  # pragma: no cover - pauses never end

    async def _settled(self, record: CallRecord) -> CallRecord:
        """Learn what became of a payment whose answer was lost.

        Look for the call among the receipts; else present the same bytes again. Should they be
        refused now, that may be because of their first time, and means nothing by itself: only
        when they have expired, a complete list of receipts has no trace of them, and the service
        does not say that they were used, is it certain that nothing was charged.
        """
        lapses = record.valid_before
        used = False
        for pause in _pauses(self._patience):
            if record.state == "placed":
                return record
            over = lapses is not None and time.time() > lapses + self._patience.settle
            traceless = False
            with suppress(WeatherError):
                found = await self._client.find_receipt(self._key.key, self._since(record))
                if found is not None:
                    return await self._placed(record, found)
                traceless = True
            try:
                if not used:
                    return await self._present(record)
            except PlacementUnansweredError as lost:
                used = lost.used
            except WeatherError:
                pass
            except VoiceCallError as refusal:
                if over and traceless:
                    await self._refused(f"lapsed: {refusal.code}")
                    raise _LapsedError from refusal
            if time.monotonic() > self._deadline:
                break
            await anyio.sleep(pause)
        await self._journal.unknown(
            self._key.key, owner=self._owner, error_code="used" if used else "unanswered"
        )
        raise _unknown(record)

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
            await self._journal.done(
                self._key.key,
                owner=self._owner,
                job=job,
                answered=was_answered(result),
                charged=result.cost.charged,
            )
        except JournalError as trouble:
            log.error("call %s ended, unrecorded: %s", self._key.key[:8], trouble)  # noqa: TRY400
        await self._teller.tell("completed")
        return result

    # Steps ----------------------------------------------------------------------------------

    async def _present(self, record: CallRecord) -> CallRecord:
        """Send the recorded bytes, the first time or again, and record the acceptance."""
        sending = self._client.place(
            record.request,
            self._headers(),
            record.quote_id or "",
            record.payment,
            proved=record.payment is not None and payment.is_signed(record.payment),
        )

        async def send() -> CallRecord:
            return await self._placed(record, await sending)

        return await _seen_through(send(), self._patience.at_cancel)

    async def _placed(self, record: CallRecord, placement: Placement) -> CallRecord:
        """Record the request id. A journal that fails now must not cost the outcome."""
        numbers = ", ".join(map(mask_number, record.numbers))
        log.info("call %s to %s placed: %s", self._key.key[:8], numbers, placement.request_id)
        self._deadline = time.monotonic() + self._wait
        try:
            return await self._journal.placed(
                self._key.key,
                owner=self._owner,
                request_id=placement.request_id,
                receipt_id=placement.receipt_id,
            )
        except JournalError as trouble:
            log.error("call %s placed, unrecorded: %s", self._key.key[:8], trouble)  # noqa: TRY400
            return replace(record, state="placed", request_id=placement.request_id)

    async def _refused(self, code: str) -> None:
        await self._journal.refused(self._key.key, owner=self._owner, error_code=code)

    @asynccontextmanager
    async def _refusing(self) -> AsyncIterator[None]:
        """Record a no that came before anything was sent: the key may be claimed again."""
        try:
            yield
        except VoiceCallError as refusal:
            await self._refused(refusal.code)
            raise
        except DuplicateCall:
            await self._refused("duplicate")
            raise

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[None]:
        """Keep the claim alive for as long as the work takes; stop working when it is lost."""
        lost: list[LeaseLost] = []

        async def renew(scope: anyio.CancelScope) -> None:
            while True:
                await asyncio.sleep(self._patience.lease / 3)
                try:
                    await self._journal.renew(
                        self._key.key, owner=self._owner, lease=self._patience.lease
                    )
                except LeaseLost as gone:
                    lost.append(gone)
                    scope.cancel()
                    return
                except JournalError as trouble:
                    log.warning("call %s: lease not renewed: %s", self._key.key[:8], trouble)

        with anyio.CancelScope() as scope:
            renewing = asyncio.create_task(renew(scope))
            try:
                yield
            finally:
                renewing.cancel()
                with anyio.CancelScope(shield=True), suppress(JournalError):
                    await self._journal.release(self._key.key, owner=self._owner)
        if lost:
            raise lost[0]

    async def _bide(self, record: CallRecord, pause: float) -> None:
        """Another worker makes this very call: give it time, up to the deadline."""
        if time.monotonic() > self._deadline:
            raise CallUnknownError(
                "Another worker is making this same call and has not finished.",
                code="held_elsewhere",
                advice="Ask for the same call again later to read its outcome.",
                safe_to_retry=True,
                request_id=record.request_id,
            )
        await anyio.sleep(min(pause, 1.0))

    async def _answer_of(self, earlier: CallRecord) -> VoiceCallResult | None:
        """The result of an earlier call for the same thing; `None` when it came to nothing."""
        for pause in _pauses(self._patience):
            run = self._run_of(earlier.call_key, max(self._deadline - time.monotonic(), 0.0))
            result = await run.finish()
            if result is not None:
                return result
            record = await self._journal.read(earlier.call_key)
            if record is None or record.state in {"claimed", "quoted", "refused"}:
                return None
            if record.state == "done":
                return run._result(record)  # noqa: SLF001 - of its own class
            if time.monotonic() > self._deadline and record.state == "placed":
                return run._result(record)  # noqa: SLF001 - likewise
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
            base_url=self._client.environment.base_url,
            numbers=request.numbers,
            fingerprint=fingerprint(request),
            request=body | {"decisionContext": why},
        )

    def _headers(self) -> Mapping[str, str]:
        cap = self._lines.policy.max_cost_per_call
        capped = {} if cap is None else {"X-Max-Cost-USDC": str(cap)}
        return capped | {"Idempotency-Key": self._key.key}

    def _since(self, record: CallRecord) -> float:
        """No receipt of this attempt is older; with a margin for clocks that differ."""
        return (record.signed_at or record.created_at) - 600

    def _result(self, record: CallRecord) -> VoiceCallResult:
        return read_result(
            record.job or ({"status": "completed"} if record.state == "done" else {}),
            request_id=record.request_id,
            call_key=record.call_key,
            quote=read_quote(record.quote["body"]) if record.quote else None,
        )


_QUOTE_GONE = {"http_404", "quote_not_found", "quote_expired", "not_found"}


def _pauses(patience: Patience) -> Iterator[float]:
    """Seconds to rest between looks: growing, jittered, without end."""
    pause = patience.pause
    while True:
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - jitter, not a secret
        pause = min(pause * 1.6, patience.longest_pause)


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


def _window(policy: CallPolicy) -> float:
    return policy.duplicate_window.total_seconds() if policy.duplicate_window else 0.0


def _limits(policy: CallPolicy) -> SpendLimits:
    return SpendLimits(
        max_cost_per_day=policy.max_cost_per_day,
        max_calls_per_number_per_day=policy.max_calls_per_number_per_day,
        duplicate_window=_window(policy),
    )


def _require_same(record: CallRecord, call: NewCall) -> None:
    if record.fingerprint != call.fingerprint:
        raise InvalidCallError(
            "This idempotency key was already used for a different call.",
            code="idempotency_key_reused",
            advice="The program has to give each intended call a key of its own.",
        )


def _number_busy(record: CallRecord) -> VoiceCallError:
    numbers = ", ".join(map(mask_number, record.numbers))
    return CallRefusedError(
        f"A call of yours to {numbers} is still under way, or its fate is not known yet; the"
        " number is not rung a second time.",
        code="number_busy",
        advice="Wait for that call's outcome; do not redial.",
        request_id=record.request_id,
    )


def _limit_reached(limit: SpendLimitReached | NumberLimitReached) -> VoiceCallError:
    until = ""
    if limit.resets_at:
        when = datetime.fromtimestamp(limit.resets_at, UTC).isoformat(timespec="minutes")
        until = f" There is room again at {when}."
    if isinstance(limit, NumberLimitReached):
        reason = (
            f"{mask_number(limit.number)} was called {limit.cap} times in 24 hours, as often as"
            " is allowed."
        )
        code = "number_limit_reached"
    else:
        reason = (
            f"The call costs ${limit.amount}; ${limit.spent} of the ${limit.cap} that calls may"
            " cost in 24 hours is spent or reserved."
        )
        code = "daily_cost_limit_reached"
    return CallRefusedError(
        reason + until, code=code, advice="Do not retry before then; tell the user."
    )


def _unknown(record: CallRecord) -> CallUnknownError:
    return CallUnknownError(
        "The call was paid for, or was about to be, and the service's answer was lost: the phone"
        " may have rung.",
        advice="Do not place this call again, in these or other words: tell the user. Asking"
        " again under the same call key looks the first one up.",
        safe_to_retry=False,
        request_id=record.request_id,
    )
