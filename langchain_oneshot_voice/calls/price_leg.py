"""The steps from a request to an agreed price, before anything is signed.

The service returns a quote. The policy, the application's check, a person and the account's rules
at the provider may each refuse it. Each step returns its outcome as an event.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from decimal import Decimal
from typing import Any

import anyio.to_thread

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.agreement import needs_approval
from langchain_oneshot_voice.approval.decisions import (
    Unreadable,
    from_store,
    read_decision,
    stored,
)
from langchain_oneshot_voice.approval.questions import Question, question_id
from langchain_oneshot_voice.call_states import UNSIGNED
from langchain_oneshot_voice.calls import states as s
from langchain_oneshot_voice.calls.results import guard_refusal
from langchain_oneshot_voice.calls.run import Run
from langchain_oneshot_voice.calls.services import AskContext, CallServices
from langchain_oneshot_voice.engine import call_user_function
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import AskedQuestion, CallRecord
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.oneshot.client import Offer
from langchain_oneshot_voice.oneshot.requests import goal_in, request_body, request_headers
from langchain_oneshot_voice.oneshot.transport import NoVerdictError
from langchain_oneshot_voice.policy import DISCLOSURE, CallPolicy
from langchain_oneshot_voice.progress import ProgressReporter
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote

log = logging.getLogger(__name__)

_SCREENING_MODULE = "langchain_oneshot_voice.policy.screening"

_QUOTE_MARGIN = 15.0
"""A quote that expires within this many seconds is not used."""

_APPROVAL_POLL = 2.0
"""Longest polling interval for an approval at the provider, in seconds."""

_SCREENING_VALID = 1.0
"""How long the policy's decision on a request is valid, in seconds."""

_APPROVAL_ENDED = {"denied", "expired", "cancelled", "consumed"}


class PriceLeg:
    """The pricing steps of one run.

    Attributes:
        request: the call in the form that the policy gives it.
        body: the request in the service's format.
        screened_at: when the policy last checked the request, in epoch seconds.
        approved: the price in US dollars that a person approved by editing another call.
        credits_count: true if the wallet's credits may pay a part of the price.
    """

    def __init__(
        self,
        services: CallServices,
        run: Run,
        reporter: ProgressReporter,
        context: AskContext,
        approved: Decimal | None,
    ) -> None:
        self._services = services
        self._run = run
        self._reporter = reporter
        self._context = context
        self.approved = approved
        self.credits_count = True
        self._questions: list[AskedQuestion] = []
        self._approvals_seen: set[str] = set()
        self.request: VoiceCallInput
        self.body: dict[str, Any] = {}
        self.screened_at = 0.0
        self._fresh: Offer | None = None

    def is_fresh(self, offer: Offer) -> bool:
        """Return whether this is the latest quote and no person was asked about it."""
        return offer is self._fresh

    async def screen(self, request: VoiceCallInput, former_key: str | None) -> VoiceCallInput:
        """Check the request against the policy, and return it in the form that the policy gives it.

        If the call was already paid, return the request unchanged, so that its outcome can be
        returned even if today's policy would refuse it.

        Args:
            request: the call as the model asked for it.
            former_key: the key that version 0.1.0 gave the call.

        Raises:
            VoiceCallError: the policy refuses the call.
        """
        self.screened_at = self._services.clock.time()
        try:
            return await self._read_request(request)
        except VoiceCallError:
            for key in (self._run.call_key, former_key):
                earlier = await self._services.journal.read(key) if key else None
                if (
                    earlier is not None
                    and earlier.state not in UNSIGNED
                    and self._has_same_payer(earlier)
                ):
                    return request
            raise

    async def load(self, request: VoiceCallInput) -> tuple[AskedQuestion, ...]:
        """Set the request, and load and return the questions asked about it before."""
        self.request = request
        self.body = request_body(request, goal_of(self._run.record))
        if self._services.approval != "never":
            questions = await self._services.journal.questions(self._run.call_key)
            self._questions = list(questions)
        return tuple(self._questions)

    async def ask_price(self, state: s.Claimed) -> s.Offered | s.Accepted | s.Refusal | s.Overtaken:
        """Request a quote from the service."""
        if state.offers >= s.MOST_OFFERS:
            return s.Refusal(wording.no_stable_price())
        bar = await self._services.journal.barred(self.request.numbers)
        if bar is not None:
            return s.Refusal(guard_refusal(self._run.record, bar))
        try:
            offer = await self._services.client.quote(
                self.body, headers_for(self._run.record), credits_count=self.credits_count
            )
        except VoiceCallError as refusal:
            return s.Refusal(refusal)
        if isinstance(offer, Placement):
            log.warning("call %s was placed without being paid for", self._run.name)
            await self._run.place(offer)
            return s.Accepted(offer)
        recorded = await self._run.move(
            "quoted", offer=offer.source, request=self.body, numbers=self.request.numbers
        )
        if not recorded:
            return s.Overtaken()
        self._fresh = offer
        await self._reporter.report("quoted", cost=offer.quote.total, quote=offer.quote)
        return s.Offered(offer)

    async def wait_for_account(
        self, state: s.Held
    ) -> s.Released | s.NotYet | s.Refusal | s.Overtaken:
        """Poll until a person has approved the call at the provider.

        While there is no answer, the record stays unchanged and a later run continues to wait.
        """
        approval_id = state.refusal.details.get("approval_id")
        again = approval_id in self._approvals_seen or len(self._approvals_seen) >= s.MOST_RELEASES
        if not isinstance(approval_id, str) or again:
            return s.Refusal(state.refusal)
        if not await self._run.move("quoted", approval_id=approval_id):
            return s.Overtaken()
        await self._reporter.report("awaiting_approval")
        clock, longest = self._services.clock, self._services.timing.account_approval
        deadline = clock.monotonic() + longest
        while True:
            status = "pending"
            with suppress(NoVerdictError):  # no answer means no decision yet
                status = await self._services.client.approval_status(approval_id)
            if status == "approved":
                self._approvals_seen.add(approval_id)
                return s.Released()
            if status in _APPROVAL_ENDED:
                return s.Refusal(wording.account_approval_ended(status, approval_id))
            if clock.monotonic() > deadline:
                return s.NotYet(wording.account_approval_pending(state.refusal.details))
            await clock.sleep(min(_APPROVAL_POLL, longest / 10))

    async def check_price(self, state: s.Quoted) -> s.Allowed | s.Refusal:
        """Check the price with the policy and the application's own check.

        If the application's check raises an exception, the call is not placed.
        """
        policy, quote = self._services.policy, state.offer.quote
        try:
            policy.check_quote(self.request, quote)
        except VoiceCallError as refusal:
            return s.Refusal(refusal)
        if policy.check is not None:
            problem = await call_user_function(policy.check, self.request, quote)
            if problem is not None:
                return s.Refusal(wording.refused_by_application(str(problem)))
        ask = needs_approval(
            asks=self._services.approval != "never",
            total=quote.total,
            worst_case=policy.worst_case(self.request, quote),
            approved=state.approved,
            require_above=policy.require_approval_above,
        )
        return s.Allowed(ask)

    async def ask_person(
        self, state: s.Asking
    ) -> s.Answered | s.Unanswered | s.Refusal | s.Overtaken:
        """Record the question and ask it."""
        approval, context = self._services.approval, self._context
        if approval == "interrupt" and not context.can_pause:
            where = "a graph without a checkpointer" if context.in_graph else "no graph"
            return s.Refusal(wording.approval_needs_graph(where))
        self._fresh = None
        asked = self._question_about(state.offer)
        moment = self._run.now()
        record = await self._services.journal.ask(asked, owner=self._run.owner)
        if record is None:
            return s.Overtaken()
        self._run.confirm(record, moment)
        await self._reporter.report("awaiting_approval")
        if not callable(approval):
            return s.Unanswered(asked)
        answer = await call_user_function(approval, self.request, state.offer.quote)
        decision = read_decision(answer, tool_name=context.tool_name, question_id=asked.question_id)
        if isinstance(decision, Unreadable):
            return s.Refusal(wording.approval_unreadable(decision.why))
        if not await self._services.journal.answer(asked.question_id, stored(decision)):
            # Another run asked the same question at the same time; the first answer counts.
            [known] = await self._services.journal.questions_of((asked.question_id,), asked.thread)
            decision = from_store(known.answer or {})
        return s.Answered(asked, decision)

    async def screen_again(self) -> VoiceCallError | None:
        """Check the policy again if its last check is too old; return its refusal, if any.

        Calling hours and lists may have changed while a person was asked.
        """
        now = self._services.clock.time()
        if abs(now - self.screened_at) < _SCREENING_VALID:
            return None
        self.screened_at = now
        try:
            await self._read_request(self.request)
        except VoiceCallError as refusal:
            return refusal
        return None

    async def _read_request(self, request: VoiceCallInput) -> VoiceCallInput:
        """Check the request against the policy.

        Raises:
            VoiceCallError: the policy refuses the call.
        """
        read_request = self._services.policy.read_request
        # The first time imports the tables of phone numbers, which would block the event loop.
        if _SCREENING_MODULE not in sys.modules:
            return await anyio.to_thread.run_sync(read_request, request)
        return read_request(request)

    def question(self, asked: AskedQuestion) -> Question:
        """Return what the person sees of a recorded question."""
        policy = self._services.policy
        quote = self._services.client.read_offer(asked.offer).quote
        prices = [
            q.price
            for q in self._questions
            if q.number < asked.number and q.answer and q.answer.get("type") == "approve"
        ]
        before = prices[-1] if prices else self.approved
        return Question(
            question_id=asked.question_id,
            request=_without_policy_additions(self.request, policy),
            quote=quote,
            worst_case=policy.worst_case(self.request, quote),
            added=_policy_additions(policy),
            tool_name=self._context.tool_name,
            tool_call_id=self._context.tool_call_id,
            agreed_before=before if before is not None and before < quote.total else None,
            note=asked.note,
        )

    def _has_same_payer(self, record: CallRecord) -> bool:
        """True if a record has the same payer, tenant and service; keys of 0.1.0 lack them."""
        services = self._services
        expected = (services.account, services.policy.tenant, services.client.environment.service)
        return (record.account.lower(), record.tenant, record.base_url) == expected

    def _question_about(self, offer: Offer) -> AskedQuestion:
        """Return the open question about exactly this offer, or create a new one."""
        last = self._questions[-1] if self._questions else None
        if (
            last is not None
            and last.answer is None
            and last.request == self.body
            and last.offer == offer.source
        ):
            return last
        thread, namespace = self._context.thread, self._context.namespace
        number = len(self._questions)
        name = question_id(
            thread=thread,
            namespace=namespace,
            call_key=self._run.call_key,
            number=number,
            request=self.body,
            price=offer.quote.total,
        )
        # The note about an answer that was ignored moves to the new question.
        note = last.note if last is not None and last.answer is None else None
        asked = AskedQuestion(
            question_id=name,
            call_key=self._run.call_key,
            number=number,
            thread=thread,
            namespace=namespace,
            request=self.body,
            offer=offer.source,
            price=offer.quote.total,
            note=note.replace(last.question_id, name) if last is not None and note else None,
        )
        self._questions.append(asked)
        return asked


def goal_of(record: CallRecord) -> str:
    """Return the name of the call that the service knows."""
    return goal_in(record.request) or record.call_key


def headers_for(record: CallRecord, max_cost: Decimal | None = None) -> dict[str, str]:
    """Return the headers: the call's goal, the account's approval, and the cap for a payment."""
    return request_headers(goal_of(record), max_cost=max_cost, approval_id=record.approval_id)


def is_usable(quote: VoiceCallQuote, now: float) -> bool:
    """Return whether an earlier quote can still be used."""
    expires = quote.expires_at
    return expires is None or now + _QUOTE_MARGIN < expires.timestamp()


def _policy_additions(policy: CallPolicy) -> dict[str, str]:
    """Return the texts that the policy adds to the model's request, by field."""
    added = {"context": DISCLOSURE} if policy.disclose_ai else {}
    return added | ({"caller_name": policy.caller_name} if policy.caller_name else {})


def _without_policy_additions(request: VoiceCallInput, policy: CallPolicy) -> VoiceCallInput:
    """Return the request without the texts that the policy added."""
    changes: dict[str, Any] = {}
    if policy.disclose_ai:
        changes["context"] = (request.context or "").removesuffix(DISCLOSURE).rstrip() or None
    if policy.caller_name is not None:
        changes["caller_name"] = None
    return request.model_copy(update=changes)
