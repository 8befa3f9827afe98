"""CallDriver: carries one call from its request to its outcome, exactly once.

`states.py` says what follows what. The driver carries out what a state asks for, records each step
before it matters, and turns what it sees into an event. A fresh call and a recovered one are driven
by the same code from different states, so that whatever dies on the way, the next run under the
same key goes on from the record. No step is steered by an exception; a `VoiceCallError` is raised
only as the outcome of the run.

The payment leg is in `payment_leg.py`, the way to an agreed price in `price_leg.py`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import assert_never

import anyio
import anyio.lowlevel
import anyio.to_thread

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.agreement import approved_price, last_no_or_edit
from langchain_oneshot_voice.approval.decisions import Edit
from langchain_oneshot_voice.approval.questions import Question
from langchain_oneshot_voice.call_states import ENDED, UNSIGNED
from langchain_oneshot_voice.calls import states as s
from langchain_oneshot_voice.calls.call_key import edited_key, fingerprint
from langchain_oneshot_voice.calls.payment_leg import NO_CREDITS, PaymentLeg
from langchain_oneshot_voice.calls.price_leg import PriceLeg, stands
from langchain_oneshot_voice.calls.results import busy, declined_result, result_of
from langchain_oneshot_voice.calls.run import Run
from langchain_oneshot_voice.calls.services import Asker, CallServices
from langchain_oneshot_voice.do_not_call import find_opt_out, suppress_opt_outs
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import (
    AskedQuestion,
    CallRecord,
    JournalError,
    JournalUnavailableError,
    NewCall,
)
from langchain_oneshot_voice.oneshot.answers import Job
from langchain_oneshot_voice.oneshot.requests import request_body
from langchain_oneshot_voice.oneshot.results import was_answered
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

log = logging.getLogger(__name__)

_SCREENING = "langchain_oneshot_voice.policy.screening"

_QUICK_LOOK = 5.0
"""Seconds spent on an earlier call that nobody works on, to see whether its phone is free."""

_LONGEST_WAIT_FOR_HOLDER = 1.0
"""Seconds between looks at a call that another worker holds."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The graph has to be paused: the question on record, and what the person is shown."""

    asked: AskedQuestion
    question: Question


class CallDriver:
    """One run of one call.

    Args:
        services: what to make it with.
        call_key: which call it is, as on record.
        teller: told of each step.
        wait: seconds to wait for the outcome, and for an answer about a payment.
        asker: where a person is asked from.
        answers_for: seconds for which an ended call answers the key; `None` for ever.
        former_key: the key that version 0.1.0 gave the call.
        approved: a price that a person said yes to beforehand, by editing another call.
    """

    def __init__(
        self,
        services: CallServices,
        call_key: str,
        teller: ProgressTeller,
        wait: float,
        asker: Asker | None = None,
        *,
        answers_for: float | None = None,
        former_key: str | None = None,
        approved: Decimal | None = None,
    ) -> None:
        self._services = services
        self._journal = services.journal
        self._clock = services.clock
        self._teller = teller
        self._wait = wait
        self._deadline = services.clock.monotonic() + wait
        self._asker = asker = asker or Asker()
        self._answers_for = answers_for
        self._former_key = former_key
        self._run = Run(services, call_key, secrets.token_hex(8))
        self._price = PriceLeg(services, self._run, teller, asker, approved)
        self._payment = PaymentLeg(services, self._run, teller, wait)
        self._held: VoiceCallError | None = None

    async def run(self, request: VoiceCallInput) -> VoiceCallResult | Pending:
        """Drive the call from its request to its outcome, whoever brings it about.

        Returns:
            The result; or the question that the graph has to be paused with.

        Raises:
            VoiceCallError: the call did not happen, or nobody can know whether it did.
            JournalUnavailableError: the record can't be kept; nothing was signed.
        """
        request = await self._screened(request)
        try:
            return await self._claim_and_run(request)
        except JournalUnavailableError as trouble:
            if not self._run.pending:
                raise
            raise self._unrecorded(trouble) from trouble
        except asyncio.CancelledError:
            await self._payment.withdraw()
            self._say_what_is_left()
            raise
        finally:
            await self._run.release()

    def _say_what_is_left(self) -> None:
        """Whoever waited has gone: say in the log how to read the outcome, if there will be one."""
        record: CallRecord | None = getattr(self._run, "record", None)  # none before the claim
        if record is None or record.state in UNSIGNED | ENDED:
            log.info("call %s: interrupted, nothing was paid", self._run.name)
            return
        log.warning(
            "call %s: interrupted (%s); `oneshot-voice recover` reads its outcome",
            self._run.name,
            record.request_id or "paid for, not answered yet",
        )

    async def finish(self) -> VoiceCallResult | None:
        """Bring a call that was signed before to its end; place nothing new.

        Returns:
            Its result; `None` if a live worker holds it, or if nothing was or can be charged.

        Raises:
            VoiceCallError: nobody can know what became of it.
            JournalUnavailableError: it could not be looked at.
        """
        try:
            record = await self._run.take()
            if record is None or record.state in UNSIGNED:
                return None
            try:
                end = await self._drive(self._first_state(record, ()))
            except JournalUnavailableError as trouble:
                raise self._unrecorded(trouble) from trouble
            match end:
                case s.Done() | s.InProgress():
                    return result_of(self._run.record)
                case s.Unknown():
                    raise wording.fate_unknown(self._run.record.request_id)
                case _:
                    return None
        finally:
            await self._run.release()

    def _unrecorded(self, trouble: JournalUnavailableError) -> VoiceCallError:
        """The journal failed after the payment was signed."""
        log.error("call %s signed, unrecorded: %s", self._run.name, trouble)
        return wording.fate_unrecorded(trouble)

    async def _screened(self, request: VoiceCallInput) -> VoiceCallInput:
        """The request in the policy's words.

        If the call was paid or answered already, its outcome is returned even if today's policy
        would refuse it.
        """
        self._price.screened_at = self._clock.time()
        read_request = self._services.policy.read_request
        try:
            if _SCREENING not in sys.modules:  # the first time imports the numbering plans
                return await anyio.to_thread.run_sync(read_request, request)
            return read_request(request)
        except VoiceCallError:
            for key in (self._run.call_key, self._former_key):
                earlier = await self._journal.read(key) if key else None
                if (
                    earlier is not None
                    and earlier.state not in UNSIGNED
                    and self._is_of_us(earlier)
                ):
                    return request
            raise

    def _is_of_us(self, record: CallRecord) -> bool:
        """Whether a record is of the same payer, tenant and service: 0.1.0's keys did not say."""
        services = self._services
        ours = (services.account, services.policy.tenant, services.client.environment.service)
        return (record.account.lower(), record.tenant, record.base_url) == ours

    async def _claim_and_run(self, request: VoiceCallInput) -> VoiceCallResult | Pending:
        """Loop until this run owns the call and has brought it to an end, or has a result."""
        call = self._new_call(request)
        began: float | None = None
        seen_busy: set[str] = set()
        pauses = self._services.timing.pauses()
        while True:
            asked = self._run.now()
            claim = await self._journal.claim(
                call,
                owner=self._run.owner,
                duplicate_window=_window(self._services.policy),
                answers_for=self._answers_for,
                asked_at=began,
                former_key=self._former_key,
            )
            began = claim.now if began is None else began
            record, earlier = claim.record, None
            match claim.kind:
                case "mine":
                    self._require_same(record, call)
                    self._run.hold(record, asked)
                    end = await self._run_claimed(request)
                    if isinstance(end, VoiceCallResult | Pending):
                        return end
                    if isinstance(end, s.Duplicate):
                        earlier = await self._answer_of(end.record)
                case "finished":
                    self._require_same(record, call)
                    return await self._answer_again(record, began)
                case "held":
                    self._require_same(record, call)
                    await self._wait_for_holder(record, next(pauses))
                case "duplicate":
                    earlier = await self._answer_of(record)
                case "number_busy":
                    if record.call_key in seen_busy or not await self._has_ended(record):
                        raise busy(call, record)
                    seen_busy.add(record.call_key)
                case _:
                    assert_never(claim.kind)
            if earlier is not None:
                return _handed_out_again(earlier)

    async def _run_claimed(
        self, request: VoiceCallInput
    ) -> VoiceCallResult | Pending | s.StartOver | s.Duplicate | s.Lost:
        """The call is this run's: drive it to an end, and say what that is to the caller."""
        questions = await self._price.load(request)
        end = await self._drive(self._first_state(self._run.record, questions))
        match end:
            case s.Done() | s.InProgress():
                return result_of(self._run.record)
            case s.Declined():
                return declined_result(self._run.record, end.message)
            case s.Edited():
                return await self._follow(end)
            case s.Paused():
                return Pending(end.question, self._price.question(end.question))
            case s.Refused():
                raise end.error
            case s.Unknown():
                raise wording.fate_unknown(self._run.record.request_id)
            case s.StartOver():
                self._held = end.because if end.because.code == "approval_required" else None
                self._price.credits_count = end.because.code != NO_CREDITS
                self._payment.started_over = True
                return end
            case s.Duplicate() | s.Lost():
                log.info("call %s: %s", self._run.name, type(end).__name__)
                return end
        assert_never(end)

    def _first_state(
        self, record: CallRecord, questions: tuple[AskedQuestion, ...]
    ) -> s.Live | s.Declined | s.Edited:
        """Where the record says that the call is."""
        if record.state == "placed":
            return s.Placed()
        if record.state in {"signed", "unknown"}:
            return s.Signed(sent=True, used=record.error_code == s.USED)
        said = last_no_or_edit(questions)
        if said is not None:
            question, decision = said
            if isinstance(decision, Edit):
                return s.Edited(decision, question)
            return s.Declined(decision.message, question)
        approved = approved_price(questions, self._price.body)
        if self._price.approved is not None:
            approved = max(self._price.approved, approved or self._price.approved)
        wanted = s.Claimed(approved)
        if self._held is not None:
            held, self._held = self._held, None
            return s.Held(held, wanted)
        if record.offer is None or record.request != self._price.body:
            return wanted
        offer = self._services.client.read_offer(record.offer)
        return s.Quoted(offer, approved) if stands(offer.quote, self._clock.time()) else wanted

    async def _drive(self, state: s.State) -> s.End:
        """Take step after step until the run ends, and record the end."""
        while isinstance(state, s.Live):
            state = await self._step(state)
        return await self._recorded(state)

    async def _step(self, state: s.Live) -> s.State:
        """Carry out what the state asks for, unless the call is withdrawn before it is signed."""
        if isinstance(state, s.Signed | s.Placed):
            return await self._carry_out(state)
        with self._services.withdrawal.unsigned_step() as step:
            if not isinstance(state, s.Agreed):
                return await self._carry_out(state)
            # What is signed is sent at once, so a rate limit is waited for before.
            await self._services.client.rate_limit.wait()
            await anyio.lowlevel.checkpoint_if_cancelled()
        if step.cancelled_caught:
            return s.Refused(wording.withdrawn(), on_record=False)
        return await self._carry_out(state)

    async def _carry_out(self, state: s.Live) -> s.State:
        match state:
            case s.Claimed():
                return s.after_claimed(state, await self._price.ask_price(state))
            case s.Held():
                return s.after_held(state, await self._price.wait_for_account(state))
            case s.Quoted():
                return s.after_quoted(state, await self._price.judge(state))
            case s.Asking():
                return s.after_asking(state, await self._price.ask_person(state))
            case s.Agreed():
                return s.after_agreed(state, await self._payment.sign(state, self._price))
            case s.Signed():
                return s.after_signed(state, await self._payment.present(state))
            case s.Placed():
                return s.after_placed(state, await self._wait_for_end())
        assert_never(state)

    async def _recorded(self, end: s.End) -> s.End:
        """Put the end of a run on record; `Lost` if the call is another worker's by now."""
        run, kept = self._run, True
        match end:
            case s.Done():
                await self._record_outcome(end.job)
            case s.Declined():
                kept = await run.move("declined")
            case s.Edited():
                kept = await run.move("edited", edited_to=self._edited_key(end))
            case s.Refused(on_record=True):
                kept = await run.move("refused", error_code=end.error.code)
            case s.StartOver():
                kept = await run.move("refused", error_code=f"again: {end.because.code}"[:80])
            case s.Duplicate():
                kept = await run.move("refused", error_code="duplicate")
            case s.Unknown():
                kept = await run.move("unknown", error_code=run.record.error_code or "unanswered")
            case s.InProgress() | s.Paused() | s.Refused() | s.Lost():
                pass
        return end if kept else s.Lost()

    async def _wait_for_end(self) -> s.Ended | s.TimeUp:
        """Wait for a placed call's end. From here on only the end itself ends the wait."""
        self._run.pending = False
        request_id = self._run.record.request_id or ""
        await self._teller.tell("placed", request_id=request_id)

        async def seen(job: Job) -> None:
            if not job.is_final:
                await self._teller.tell("in_progress")

        job = await self._services.feed.wait(request_id, self._wait, seen)
        return s.TimeUp() if job is None else s.Ended(job)

    async def _record_outcome(self, job: Job) -> None:
        """Record the outcome. A journal that fails now must not cost it."""
        run = self._run
        result = result_of(replace(run.record, job=job.raw))
        heard = find_opt_out(result.transcript)
        try:
            await run.move(
                "done",
                job=job.raw,
                answered=was_answered(result),
                charged=result.cost.charged,
                opt_out=heard,
            )
        except JournalError as trouble:
            log.error("call %s ended, unrecorded: %s", run.name, trouble)  # noqa: TRY400
        run.record = replace(run.record, state="done", job=job.raw)
        if heard is not None:
            log.info("call %s: somebody asked not to be called again", run.name)
            await suppress_opt_outs(self._journal)
        await self._teller.tell("completed")

    async def _follow(self, edited: s.Edited) -> VoiceCallResult | Pending:
        """Go on with the call that a person made of this one."""
        request = edited.decision.edited_action.args
        driver = CallDriver(
            self._services,
            self._edited_key(edited),
            self._teller,
            max(self._deadline - self._clock.monotonic(), 0.0),
            self._asker,
            approved=edited.question.price,
        )
        return await driver.run(request)

    def _edited_key(self, edited: s.Edited) -> str:
        request = edited.decision.edited_action.args
        return edited_key(edited.question.call_key, edited.question.question_id, request)

    async def _answer_again(self, record: CallRecord, began: float) -> VoiceCallResult | Pending:
        """What a call that has ended answers to a run of its key that began at this time."""
        if record.state == "done":
            result = result_of(record)
            # It ended while this run waited for it: then somebody was called just now.
            return result if record.updated_at >= began else _handed_out_again(result)
        said = last_no_or_edit(await self._journal.questions(record.call_key))
        question, decision = said or (None, None)
        if question is not None and isinstance(decision, Edit):
            # The other call says itself whether it was made just now.
            return await self._follow(s.Edited(decision, question))
        if record.edited_to is not None:  # the question is forgotten, the call that was made is not
            made = await self._journal.read(record.edited_to)
            return _handed_out_again(result_of(made or record))
        return declined_result(record, getattr(decision, "message", None))

    async def _wait_for_holder(self, record: CallRecord, pause: float) -> None:
        """Rest while another worker makes this very call, until time runs out."""
        if self._clock.monotonic() > self._deadline:
            raise wording.held_elsewhere(record.request_id)
        await self._clock.sleep(min(pause, _LONGEST_WAIT_FOR_HOLDER))

    async def _answer_of(self, earlier: CallRecord) -> VoiceCallResult | None:
        """The result of an earlier call for the same thing; `None` if it came to nothing."""
        for pause in self._services.timing.pauses():
            left = max(self._deadline - self._clock.monotonic(), 0.0)
            result = await self._driver_of(earlier.call_key, left).finish()
            if result is not None:
                return result
            record = await self._journal.read(earlier.call_key)
            if record is None or record.state in UNSIGNED:
                return None
            if record.state in ENDED or (not left and record.state == "placed"):
                return result_of(record)
            await self._wait_for_holder(record, pause)
        raise AssertionError  # pragma: no cover - pauses never end

    async def _has_ended(self, other: CallRecord) -> bool:
        """Whether a placed call that nobody works on has ended meanwhile: its phone is free."""
        if other.state == "placed":
            with suppress(VoiceCallError):  # it is that call's end, not this one's
                await self._driver_of(other.call_key, _QUICK_LOOK).finish()
        record = await self._journal.read(other.call_key)
        return record is None or record.state in {"done", "refused"}

    def _driver_of(self, call_key: str, wait: float) -> CallDriver:
        silent = ProgressTeller(call_key, (), None, None)
        return CallDriver(self._services, call_key, silent, wait)

    def _new_call(self, request: VoiceCallInput) -> NewCall:
        services, key = self._services, self._run.call_key
        # A key that is used again is another call to the service: an old receipt is not its own.
        goal = key if self._answers_for is None else secrets.token_hex(32)
        return NewCall(
            call_key=key,
            account=services.account,
            tenant=services.policy.tenant,
            base_url=services.client.environment.service,
            numbers=request.numbers,
            fingerprint=fingerprint(request),
            request=request_body(request, goal),
        )

    def _require_same(self, record: CallRecord, call: NewCall) -> None:
        """Require that the key stands for the same request. A forgotten call has no fingerprint."""
        if record.fingerprint not in {call.fingerprint, ""}:
            raise wording.key_reused()


def _handed_out_again(result: VoiceCallResult) -> VoiceCallResult:
    """Say of a result that it is an earlier call's; a call that nobody made has none."""
    if result.call_status == "rejected":
        return result
    return result.model_copy(update={"reused": True})


def _window(policy: CallPolicy) -> float:
    return policy.duplicate_window.total_seconds() if policy.duplicate_window else 0.0
