"""From a request to a price that everybody has agreed to, before anything is signed.

The service's quote, the policy's view of the price, the application's own check, a person's yes,
and the account's own rules at the provider. Each step returns what it saw as an event.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from decimal import Decimal
from typing import Any

import anyio.to_thread

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval.agreement import needs_person
from langchain_oneshot_voice.approval.decisions import (
    Unreadable,
    from_store,
    read_decision,
    stored,
)
from langchain_oneshot_voice.approval.questions import Question, question_id
from langchain_oneshot_voice.calls import states as s
from langchain_oneshot_voice.calls.results import guard_refusal
from langchain_oneshot_voice.calls.run import Run
from langchain_oneshot_voice.calls.services import Asker, CallServices
from langchain_oneshot_voice.engine import call_user
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import AskedQuestion, CallRecord
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.oneshot.client import Offer
from langchain_oneshot_voice.oneshot.requests import goal_in, request_body, request_headers
from langchain_oneshot_voice.oneshot.transport import WeatherError
from langchain_oneshot_voice.policy import DISCLOSURE, CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote

log = logging.getLogger(__name__)

_QUOTE_MARGIN = 15.0
"""Seconds before a quote's end in which it is not taken any more."""

_APPROVAL_PAUSE = 2.0
"""Seconds between looks at an approval at the provider."""

_JUDGED_FOR = 1.0
"""Seconds for which the policy's word on a request holds; then it is asked again."""

_APPROVAL_ENDED = {"denied", "expired", "cancelled", "consumed"}


class PriceLeg:
    """The way of one run to an agreed price.

    Attributes:
        request: the call in the policy's words.
        body: the same as it goes on the wire.
        screened_at: when the policy last allowed the request, in epoch seconds.
        approved: the price that a person said yes to beforehand, by editing another call.
        credits_count: whether the wallet's credits are to pay a part of the price.
    """

    def __init__(
        self,
        services: CallServices,
        run: Run,
        teller: ProgressTeller,
        asker: Asker,
        approved: Decimal | None,
    ) -> None:
        self._services = services
        self._run = run
        self._teller = teller
        self._asker = asker
        self.approved = approved
        self.credits_count = True
        self._questions: list[AskedQuestion] = []
        self._released: set[str] = set()
        self.request: VoiceCallInput
        self.body: dict[str, Any] = {}
        self.screened_at = 0.0
        self._fresh: Offer | None = None

    def is_fresh(self, offer: Offer) -> bool:
        """Whether the service named this price a moment ago, and nobody was asked since."""
        return offer is self._fresh

    async def load(self, request: VoiceCallInput) -> tuple[AskedQuestion, ...]:
        """Begin with a request, and with the questions that were asked about it before."""
        self.request = request
        self.body = request_body(request, goal_of(self._run.record))
        if self._services.approval != "never":
            questions = await self._services.journal.questions(self._run.call_key)
            self._questions = list(questions)
        return tuple(self._questions)

    async def ask_price(self, state: s.Claimed) -> s.Offered | s.Accepted | s.Refusal | s.Overtaken:
        """Ask the service for a price."""
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
        kept = await self._run.move(
            "quoted", offer=offer.source, request=self.body, numbers=self.request.numbers
        )
        if not kept:
            return s.Overtaken()
        self._fresh = offer
        await self._teller.tell("quoted", cost=offer.quote.total, quote=offer.quote)
        return s.Offered(offer)

    async def wait_for_account(
        self, state: s.Held
    ) -> s.Released | s.NotYet | s.Refusal | s.Overtaken:
        """Wait until the person whom the account's rules name has approved the call.

        Until they have answered the call stays as it is, and a later run goes on waiting.
        """
        approval_id = state.refusal.details.get("approval_id")
        again = approval_id in self._released or len(self._released) >= s.MOST_RELEASES
        if not isinstance(approval_id, str) or again:
            return s.Refusal(state.refusal)
        if not await self._run.move("quoted", approval_id=approval_id):
            return s.Overtaken()
        await self._teller.tell("awaiting_approval")
        clock, longest = self._services.clock, self._services.timing.account_approval
        deadline = clock.monotonic() + longest
        while True:
            status = "pending"
            with suppress(WeatherError):
                status = await self._services.client.approval_status(approval_id)
            if status == "approved":
                self._released.add(approval_id)
                return s.Released()
            if status in _APPROVAL_ENDED:
                return s.Refusal(wording.account_approval_ended(status, approval_id))
            if clock.monotonic() > deadline:
                return s.NotYet(wording.account_approval_pending(state.refusal.details))
            await clock.sleep(min(_APPROVAL_PAUSE, longest / 10))

    async def judge(self, state: s.Quoted) -> s.Allowed | s.Refusal:
        """Let the policy and the application judge the price. If the check raises, no call."""
        policy, quote = self._services.policy, state.offer.quote
        try:
            policy.check_quote(self.request, quote)
        except VoiceCallError as refusal:
            return s.Refusal(refusal)
        if policy.check is not None:
            problem = await call_user(policy.check, self.request, quote)
            if problem is not None:
                return s.Refusal(wording.refused_by_application(str(problem)))
        ask = needs_person(
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
        """Put the question on record, and ask it."""
        approval, asker = self._services.approval, self._asker
        if approval == "interrupt" and not asker.can_pause:
            where = "a graph without a checkpointer" if asker.in_graph else "no graph"
            return s.Refusal(wording.approval_needs_graph(where))
        self._fresh = None
        asked = self._question_about(state.offer)
        moment = self._run.now()
        record = await self._services.journal.ask(asked, owner=self._run.owner)
        if record is None:
            return s.Overtaken()
        self._run.hold(record, moment)
        await self._teller.tell("awaiting_approval")
        if not callable(approval):
            return s.Unanswered(asked)
        answer = await call_user(approval, self.request, state.offer.quote)
        decision = read_decision(answer, tool_name=asker.tool_name, question_id=asked.question_id)
        if isinstance(decision, Unreadable):
            return s.Refusal(wording.approval_unreadable(decision.why))
        if not await self._services.journal.answer(asked.question_id, stored(decision)):
            # Another run has asked the same person at the same time: the first answer stands.
            [known] = await self._services.journal.questions_of((asked.question_id,), asked.thread)
            decision = from_store(known.answer or {})
        return s.Answered(asked, decision)

    def rejudge(self) -> VoiceCallError | None:
        """What the policy has against the call by now. Slow: run it in a thread."""
        try:
            self._services.policy.read_request(self.request)
        except VoiceCallError as refusal:
            return refusal
        return None

    async def judged_again(self) -> VoiceCallError | None:
        """Judge hours, countries and lists again if time has passed since they were judged."""
        now = self._services.clock.time()
        if abs(now - self.screened_at) < _JUDGED_FOR:
            return None
        self.screened_at = now
        return await anyio.to_thread.run_sync(self.rejudge)

    def question(self, asked: AskedQuestion) -> Question:
        """What the person is shown of a question on record."""
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
            request=_in_the_models_words(self.request, policy),
            quote=quote,
            worst_case=policy.worst_case(self.request, quote),
            added=_added(policy),
            tool_name=self._asker.tool_name,
            tool_call_id=self._asker.tool_call_id,
            agreed_before=before if before is not None and before < quote.total else None,
            note=asked.note,
        )

    def _question_about(self, offer: Offer) -> AskedQuestion:
        """The open question about exactly this offer, or a new one."""
        last = self._questions[-1] if self._questions else None
        if (
            last is not None
            and last.answer is None
            and last.request == self.body
            and last.offer == offer.source
        ):
            return last
        thread, namespace = self._asker.thread, self._asker.namespace
        number = len(self._questions)
        name = question_id(
            thread=thread,
            namespace=namespace,
            call_key=self._run.call_key,
            number=number,
            request=self.body,
            price=offer.quote.total,
        )
        # What was wrong with the last answer is still to be said.
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
    """The name by which the service knows the call."""
    return goal_in(record.request) or record.call_key


def headers_for(record: CallRecord, max_cost: Decimal | None = None) -> dict[str, str]:
    """What goes along: our key, the account's approval, and with a payment the cap."""
    return request_headers(goal_of(record), max_cost=max_cost, approval_id=record.approval_id)


def stands(quote: VoiceCallQuote, now: float) -> bool:
    """Whether a quote from before can still be taken."""
    expires = quote.expires_at
    return expires is None or now + _QUOTE_MARGIN < expires.timestamp()


def _added(policy: CallPolicy) -> dict[str, str]:
    """What is added to the model's words, by field."""
    added = {"context": DISCLOSURE} if policy.disclose_ai else {}
    return added | ({"caller_name": policy.caller_name} if policy.caller_name else {})


def _in_the_models_words(request: VoiceCallInput, policy: CallPolicy) -> VoiceCallInput:
    """The request without what the policy adds to it."""
    changes: dict[str, Any] = {}
    if policy.disclose_ai:
        changes["context"] = (request.context or "").removesuffix(DISCLOSURE).rstrip() or None
    if policy.caller_name is not None:
        changes["caller_name"] = None
    return request.model_copy(update=changes)
