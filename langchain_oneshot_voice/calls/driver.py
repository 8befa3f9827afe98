"""CallDriver: runs one call from its request to its outcome, exactly once.

`states.py` defines the transitions. The driver performs the step that a state needs, records it in
the journal before its effect is possible, and turns the outcome into an event. New and recovered
calls use the same code and start in different states. So if a run is killed, the next run with the
same key continues from the record. Exceptions do not control the steps; the driver raises a
`VoiceCallError` only as the outcome of a run.

`price_leg.py` has the steps until the price is agreed, `payment_leg.py` those of the payment.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import assert_never

import anyio
import anyio.lowlevel

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.agreement import approved_price, last_refusal_or_edit
from langchain_oneshot_voice.approval.decisions import Edit
from langchain_oneshot_voice.approval.questions import Pending
from langchain_oneshot_voice.call_states import ENDED, UNSIGNED
from langchain_oneshot_voice.calls import states as s
from langchain_oneshot_voice.calls.call_key import edited_key, fingerprint
from langchain_oneshot_voice.calls.payment_leg import NO_CREDITS, PaymentLeg
from langchain_oneshot_voice.calls.price_leg import PriceLeg, is_usable
from langchain_oneshot_voice.calls.results import (
    declined_result,
    number_busy_error,
    parse_result,
    result_of,
    with_end_time,
)
from langchain_oneshot_voice.calls.run import Run
from langchain_oneshot_voice.calls.services import AskContext, CallServices, duplicate_seconds
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
from langchain_oneshot_voice.progress import ProgressReporter
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

log = logging.getLogger(__name__)

_NUMBER_CHECK_TIMEOUT = 5.0
"""Time limit for checking whether another, abandoned call to the number has ended, in seconds."""

_LONGEST_OWNER_POLL = 1.0
"""Longest polling interval for a call that another worker owns, in seconds."""


class CallDriver:
    """One run of one call.

    Args:
        services: the service, the journal and the settings of the caller.
        call_key: the call's key in the journal.
        reporter: reports the progress.
        wait: time limit for the outcome, and for an answer about a payment, in seconds.
        ask_context: where a person is asked.
        answers_for: how long, in seconds, an ended call's outcome is reused for the key; `None`
            for no limit.
        former_key: the key that version 0.1.0 gave the call.
        approved: the price in US dollars that a person approved by editing another call.
    """

    def __init__(
        self,
        services: CallServices,
        call_key: str,
        reporter: ProgressReporter,
        wait: float,
        ask_context: AskContext | None = None,
        *,
        answers_for: float | None = None,
        former_key: str | None = None,
        approved: Decimal | None = None,
    ) -> None:
        self._services = services
        self._journal = services.journal
        self._clock = services.clock
        self._reporter = reporter
        self._wait = wait
        self._deadline = services.clock.monotonic() + wait
        self._ask_context = ask_context = ask_context or AskContext()
        self._answers_for = answers_for
        self._former_key = former_key
        self._run = Run(services, call_key, secrets.token_hex(8))
        self._price = PriceLeg(services, self._run, reporter, ask_context, approved)
        self._payment = PaymentLeg(services, self._run, reporter, wait)
        self._account_refusal: VoiceCallError | None = None
        self._outcome: VoiceCallResult | None = None

    async def run(self, request: VoiceCallInput) -> VoiceCallResult | Pending:
        """Run the call until it has an outcome. This run or another worker makes the call.

        Returns:
            The result, or the question that the graph must be paused with.

        Raises:
            VoiceCallError: the call did not happen, or it can't be determined whether it did.
            JournalUnavailableError: the journal failed, and nothing was signed.
        """
        request = await self._price.screen(request, self._former_key)
        try:
            return await self._claim_and_run(request)
        except JournalUnavailableError as error:
            if not self._run.payment_open:
                raise
            raise self._unrecorded_payment(error) from error
        except asyncio.CancelledError:
            await self._payment.cancel_unsent()
            self._log_interruption()
            raise
        finally:
            await self._run.release()

    def _log_interruption(self) -> None:
        """Log that the run was cancelled, and how to get the outcome if the call was paid."""
        record: CallRecord | None = getattr(self._run, "record", None)  # not set before the claim
        if record is None or record.state in UNSIGNED | ENDED:
            log.info("call %s: interrupted, nothing was paid", self._run.name)
            return
        log.warning(
            "call %s: interrupted (%s); `oneshot-voice recover` reads its outcome",
            self._run.name,
            record.request_id or "paid for, not answered yet",
        )

    async def finish(self) -> VoiceCallResult | None:
        """Finish a call that was signed before. No new call is placed.

        Returns:
            Its result; `None` if a live worker owns it, or if nothing was or can be charged.

        Raises:
            VoiceCallError: it can't be determined whether the call was charged.
            JournalUnavailableError: the journal failed before the call was taken over.
        """
        try:
            record = await self._run.take()
            if record is None or record.state in UNSIGNED:
                return None
            try:
                end = await self._drive(self._first_state(record, ()))
            except JournalUnavailableError as error:
                raise self._unrecorded_payment(error) from error
            match end:
                case s.Done() | s.InProgress():
                    return self._result()
                case s.Unknown():
                    raise wording.fate_unknown(self._run.record.request_id)
                case _:
                    return None
        finally:
            await self._run.release()

    def _unrecorded_payment(self, error: JournalUnavailableError) -> VoiceCallError:
        """Log and return the error for a journal that failed after the payment was signed."""
        log.error("call %s signed, unrecorded: %s", self._run.name, error)
        return wording.fate_unrecorded(error)

    async def _claim_and_run(self, request: VoiceCallInput) -> VoiceCallResult | Pending:
        """Claim the call and run it. Loop until this run or another worker has a result."""
        call = self._new_call(request)
        # The journal's time of the first claim: a call that ends later was not reused.
        began_at: float | None = None
        checked: set[str] = set()
        pauses = self._services.timing.pauses()
        while True:
            asked = self._run.now()
            claim = await self._journal.claim(
                call,
                owner=self._run.owner,
                duplicate_window=duplicate_seconds(self._services.policy),
                answers_for=self._answers_for,
                asked_at=began_at,
                former_key=self._former_key,
            )
            began_at = claim.now if began_at is None else began_at
            record, earlier = claim.record, None
            match claim.kind:
                case "mine":
                    self._require_same_request(record, call)
                    self._run.confirm(record, asked)
                    end = await self._run_claimed(request)
                    if isinstance(end, VoiceCallResult | Pending):
                        return end
                    if isinstance(end, s.Duplicate):
                        earlier = await self._earlier_result(end.record)
                case "finished":
                    self._require_same_request(record, call)
                    return await self._replayed_answer(record, began_at)
                case "held":
                    self._require_same_request(record, call)
                    await self._wait_for_owner(record, next(pauses))
                case "duplicate":
                    earlier = await self._earlier_result(record)
                case "number_busy":
                    if record.call_key in checked or not await self._frees_number(record):
                        raise number_busy_error(call, record)
                    checked.add(record.call_key)
                case _:
                    assert_never(claim.kind)
            if earlier is not None:
                return _as_reused(earlier)

    async def _run_claimed(
        self, request: VoiceCallInput
    ) -> VoiceCallResult | Pending | s.StartOver | s.Duplicate | s.Lost:
        """Run a call that this run owns, and turn its end into a result or an error."""
        questions = await self._price.load(request)
        end = await self._drive(self._first_state(self._run.record, questions))
        match end:
            case s.Done() | s.InProgress():
                return self._result()
            case s.Declined():
                return declined_result(self._run.record, end.message)
            case s.Edited():
                return await self._run_edited(end)
            case s.Paused():
                return Pending(end.question, self._price.question(end.question))
            case s.Refused():
                raise end.error
            case s.Unknown():
                raise wording.fate_unknown(self._run.record.request_id)
            case s.StartOver():
                self._account_refusal = (
                    end.because if end.because.code == "approval_required" else None
                )
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
        """Return the state in which a run continues from the record."""
        if record.state == "placed":
            return s.Placed()
        if record.state in {"signed", "unknown"}:
            return s.Signed(sent=True, used=record.error_code == s.USED)
        answered = last_refusal_or_edit(questions)
        if answered is not None:
            question, decision = answered
            if isinstance(decision, Edit):
                return s.Edited(decision, question)
            return s.Declined(decision.message, question)
        approved = approved_price(questions, self._price.body)
        if self._price.approved is not None:
            approved = max(self._price.approved, approved or self._price.approved)
        wanted = s.Claimed(approved)
        if self._account_refusal is not None:
            held, self._account_refusal = self._account_refusal, None
            return s.Held(held, wanted)
        if record.offer is None or record.request != self._price.body:
            return wanted
        offer = self._services.client.read_offer(record.offer)
        return s.Quoted(offer, approved) if is_usable(offer.quote, self._clock.time()) else wanted

    async def _drive(self, state: s.State) -> s.End:
        """Perform steps until the run ends, and record the end."""
        while isinstance(state, s.Live):
            state = await self._step(state)
        return await self._record_end(state)

    async def _step(self, state: s.Live) -> s.State:
        """Perform the step of the state, unless the call is withdrawn before it is signed."""
        if isinstance(state, s.Signed | s.Placed):
            return await self._run_step(state)
        with self._services.withdrawal.unsigned_step() as step:
            if not isinstance(state, s.Agreed):
                return await self._run_step(state)
            # A signed payment must be sent at once, so wait for the rate limit before signing.
            await self._services.client.rate_limit.wait()
            await anyio.lowlevel.checkpoint_if_cancelled()
        if step.cancelled_caught:
            # The record stays unchanged: a later run may continue from the quote.
            return s.Refused(wording.withdrawn(), on_record=False)
        return await self._run_step(state)

    async def _run_step(self, state: s.Live) -> s.State:
        match state:
            case s.Claimed():
                return s.after_claimed(state, await self._price.ask_price(state))
            case s.Held():
                return s.after_held(state, await self._price.wait_for_account(state))
            case s.Quoted():
                return s.after_quoted(state, await self._price.check_price(state))
            case s.Asking():
                return s.after_asking(state, await self._price.ask_person(state))
            case s.Agreed():
                return s.after_agreed(state, await self._payment.sign(state, self._price))
            case s.Signed():
                return s.after_signed(state, await self._payment.present(state))
            case s.Placed():
                return s.after_placed(state, await self._wait_for_outcome())
        assert_never(state)

    async def _record_end(self, end: s.End) -> s.End:
        """Record the end of a run. Return `Lost` if another worker owns the call now."""
        run, recorded = self._run, True  # ends that record nothing count as recorded
        match end:
            case s.Done():
                await self._record_outcome(end.job)
            case s.Declined():
                recorded = await run.move("declined")
            case s.Edited():
                recorded = await run.move("edited", edited_to=self._edited_key(end))
            case s.Refused(on_record=True):
                recorded = await run.move("refused", error_code=end.error.code)
            case s.StartOver():
                recorded = await run.move("refused", error_code=f"again: {end.because.code}"[:80])
            case s.Duplicate():
                recorded = await run.move("refused", error_code="duplicate")
            case s.Unknown():
                recorded = await run.move(
                    "unknown", error_code=run.record.error_code or "unanswered"
                )
            case s.InProgress() | s.Paused() | s.Refused() | s.Lost():
                pass
        return end if recorded else s.Lost()

    async def _wait_for_outcome(self) -> s.Ended | s.TimeUp:
        """Wait until a placed call ends or the time is over."""
        # The service accepted the payment, so its fate is known even if the journal fails now.
        self._run.payment_open = False
        request_id = self._run.record.request_id or ""
        await self._reporter.report("placed", request_id=request_id)

        async def seen(job: Job) -> None:
            if not job.is_final:
                await self._reporter.report("in_progress")

        job = await self._services.feed.wait(request_id, self._wait, seen)
        return s.TimeUp() if job is None else s.Ended(job)

    async def _record_outcome(self, job: Job) -> None:
        """Record the outcome. If the journal fails, the caller still gets the outcome."""
        run = self._run
        result = parse_result(replace(run.record, job=job.raw))
        opt_out = find_opt_out(result.transcript)
        try:
            await run.move(
                "done",
                job=job.raw,
                answered=was_answered(result),
                charged=result.cost.charged,
                opt_out=opt_out,
            )
        except JournalError as error:
            log.error("call %s ended, unrecorded: %s", run.name, error)  # noqa: TRY400
        run.record = replace(run.record, state="done", job=job.raw)
        self._outcome = with_end_time(result, run.record)
        if opt_out is not None:
            log.info("call %s: a person asked not to be called again", run.name)
            await suppress_opt_outs(self._journal)
        await self._reporter.report("completed")

    def _result(self) -> VoiceCallResult:
        """Return the outcome that this run recorded, or what is known of a call in progress."""
        return self._outcome or result_of(self._run.record)

    async def _run_edited(self, edited: s.Edited) -> VoiceCallResult | Pending:
        """Run the call that replaces this one after a person's edit."""
        request = edited.decision.edited_action.args
        driver = CallDriver(
            self._services,
            self._edited_key(edited),
            self._reporter,
            max(self._deadline - self._clock.monotonic(), 0.0),
            self._ask_context,
            approved=edited.question.price,
        )
        return await driver.run(request)

    def _edited_key(self, edited: s.Edited) -> str:
        request = edited.decision.edited_action.args
        return edited_key(edited.question.call_key, edited.question.question_id, request)

    async def _replayed_answer(
        self, record: CallRecord, began_at: float
    ) -> VoiceCallResult | Pending:
        """Return an ended call's outcome for a run with its key that began at `began_at`."""
        if record.state == "done":
            result = result_of(record)
            # If it ended while this run waited, this is a new outcome and not a reused one.
            return result if record.updated_at >= began_at else _as_reused(result)
        answered = last_refusal_or_edit(await self._journal.questions(record.call_key))
        question, decision = answered or (None, None)
        if question is not None and isinstance(decision, Edit):
            # The run of the other call decides whether its result is a reused one.
            return await self._run_edited(s.Edited(decision, question))
        if record.edited_to is not None:  # retention deleted the question, but not the new call
            made = await self._journal.read(record.edited_to)
            return _as_reused(result_of(made or record))
        return declined_result(record, getattr(decision, "message", None))

    async def _wait_for_owner(self, record: CallRecord, pause: float) -> None:
        """Sleep before the next poll of the owner's progress; raise an error if time is over."""
        if self._clock.monotonic() > self._deadline:
            raise wording.held_elsewhere(record.request_id)
        await self._clock.sleep(min(pause, _LONGEST_OWNER_POLL))

    async def _earlier_result(self, earlier: CallRecord) -> VoiceCallResult | None:
        """Return the result of an earlier, equal call; `None` if nothing was or can be charged."""
        for pause in self._services.timing.pauses():
            left = max(self._deadline - self._clock.monotonic(), 0.0)
            result = await self._silent_driver(earlier.call_key, left).finish()
            if result is not None:
                return result
            record = await self._journal.read(earlier.call_key)
            if record is None or record.state in UNSIGNED:
                return None
            if record.state in ENDED or (not left and record.state == "placed"):
                return result_of(record)
            await self._wait_for_owner(record, pause)
        raise AssertionError  # pragma: no cover - pauses never end

    async def _frees_number(self, other: CallRecord) -> bool:
        """Return whether another call has freed its number. Finish it first if it has no owner."""
        if other.state == "placed":
            with suppress(VoiceCallError):  # the error belongs to the other call
                await self._silent_driver(other.call_key, _NUMBER_CHECK_TIMEOUT).finish()
        record = await self._journal.read(other.call_key)
        return record is None or record.state in {"done", "refused"}

    def _silent_driver(self, call_key: str, wait: float) -> CallDriver:
        reporter = ProgressReporter(call_key, (), None, None)
        return CallDriver(self._services, call_key, reporter, wait)

    def _new_call(self, request: VoiceCallInput) -> NewCall:
        services, key = self._services, self._run.call_key
        # A key that may be used again needs a new goal for each call. Otherwise the receipt of an
        # old call would match.
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

    def _require_same_request(self, record: CallRecord, call: NewCall) -> None:
        """Raise an error if the key was used for another request."""
        # Retention deletes the fingerprint, so an empty one matches every request.
        if record.fingerprint not in {call.fingerprint, ""}:
            raise wording.key_reused()


def _as_reused(result: VoiceCallResult) -> VoiceCallResult:
    """Mark a result as reused. A rejected call was not made, so it is not marked."""
    if result.call_status == "rejected":
        return result
    return result.model_copy(update={"reused": True})
