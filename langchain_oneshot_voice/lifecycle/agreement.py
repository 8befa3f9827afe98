"""From a request to a price that everybody has agreed to, before anything is signed.

The application's policy first, then the service's quote, then the policy's view of the price, the
application's own check, a person's yes, and the account's own rules at the provider. What was
offered and asked is written down as it happens: when a paused graph runs the tool again, the price
that the person saw is the price that is paid. A quote that expired meanwhile, or that could not be
taken, is asked for again; should it be dearer than what was agreed to, so is the person.

A graph that is resumed gives its answers again from the first on, whatever has become of the price
that they were about. So each question stays on record, in order, for as long as it may be answered
again: no answer is ever taken for that to another question.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from typing import Any, assert_never

import anyio

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.approval import (
    Approval,
    Approve,
    Decision,
    Edit,
    Question,
    Reject,
    Respond,
    ask,
)
from langchain_oneshot_voice.engine import call_user
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallRecord
from langchain_oneshot_voice.lifecycle.hold import Hold
from langchain_oneshot_voice.oneshot.answers import Placement, read_quote
from langchain_oneshot_voice.oneshot.client import Offer, OneShotClient, WeatherError
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote

log = logging.getLogger(__name__)

_QUOTE_MARGIN = 15.0
"""Seconds before a quote's end in which it is not taken any more."""

_APPROVAL_PAUSE = 2.0
"""Seconds between looks at an approval at the provider."""

_MOST_TURNS = 10
"""Offers asked for in all, so that prices that never stand do not keep a call for ever."""

_MOST_RELEASES = 3
"""Approvals at the provider for one call, so that one which is held again each time ends."""

_NO_LONGER_PENDING = {"denied", "expired", "cancelled", "consumed"}


class DeclinedError(Exception):
    """A person said no, or answered in the call's place."""

    def __init__(self, quote: VoiceCallQuote, message: str | None) -> None:
        super().__init__("declined")
        self.quote = quote
        self.message = message


@dataclass(frozen=True, slots=True)
class _Offered:
    """One offer, as it is kept: the body that was quoted and the answer as received."""

    request: dict[str, Any]
    source: dict[str, Any]
    asked_as: int | None = None
    """The how-manieth question of the tool call it is, from 0; `None` when nobody was asked."""
    over: bool = False
    """Whether it belongs to an attempt that came to nothing: it can't be paid any more."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one offer came to.

    Attributes:
        record: the call as it is on record now.
        quote: what was offered; `None` when the service rang unpaid.
        decision: what a person said to it; `None` when nobody was asked.
        payable: what may be paid, unless the person wants it otherwise; `None` when the price does
            not stand any more.
    """

    record: CallRecord
    quote: VoiceCallQuote | None
    decision: Decision | None
    payable: Offer | Placement | None


class Agreement:
    """What has to be agreed before one call is paid for.

    Args:
        client: who is asked for prices.
        hold: the worker's hold on the call.
        policy: the application's limits.
        approval: how a person is asked.
        teller: told of the quote, and of waiting for a person.
        tool_call_id: of the tool call that asked, for the person's question.
        patience: seconds to wait for an approval at the provider.
    """

    def __init__(
        self,
        client: OneShotClient,
        hold: Hold,
        policy: CallPolicy,
        approval: Approval,
        teller: ProgressTeller,
        tool_call_id: str | None,
        patience: float,
    ) -> None:
        self._client = client
        self._hold = hold
        self._policy = policy
        self._approval = approval
        self._teller = teller
        self._tool_call_id = tool_call_id
        self._patience = patience
        self._held: VoiceCallError | None = None
        self._released: set[str] = set()
        """Approvals at the provider that were given."""
        self._earlier: list[_Offered] = []
        """What was asked in attempts that came to nothing."""
        self._heard = 0
        """Answers of a graph that this run has been given, whatever they were to."""
        self._answers: dict[int | None, Decision] = {}
        """To the questions of this run."""

    def recall(self, earlier: CallRecord | None) -> None:
        """Keep what was asked in an attempt that was refused, before the next one begins."""
        if earlier is not None and earlier.state == "refused":
            asked = (offer for offer in _offers(earlier) if offer.asked_as is not None)
            self._earlier = [replace(offer, over=True) for offer in asked]

    def held_by_account(self, refusal: VoiceCallError) -> None:
        """The account's rules held the payment: wait for their person before the next quote."""
        self._held = refusal

    async def reach(
        self, record: CallRecord, request: VoiceCallInput
    ) -> tuple[CallRecord, Offer | Placement]:
        """Agree on a price for a request, or for what a person makes of it.

        Each turn has an offer, kept from before or asked for now, and may have a question. The
        questions come in the same order whenever the tool is run again, as a graph's answers do.

        Returns:
            The offer to be paid, on record; or a placement, should the service ring unpaid.

        Raises:
            VoiceCallError: a no of the policy, the service, the account or the application.
            DeclinedError: a person's no.
        """
        if self._earlier and not _offers(record):
            record = await self._write_down(record, self._earlier, approval_id_of(record), None)
        if self._held is not None:
            held, self._held = self._held, None
            record = await self._account_approved(record, held)
        agreed: Decimal | None = None
        for number in range(_MOST_TURNS):
            async with self._hold.refusing():
                request = self._policy.read_request(request)
                await self._refuse_suppressed(request.numbers)
            turn = await self._turn(record, request, number, agreed)
            record = turn.record
            if turn.quote is None or turn.decision is None:
                if turn.payable is not None:
                    return record, turn.payable
                continue
            match turn.decision:
                case Approve():
                    agreed = max(agreed or turn.quote.total, turn.quote.total)
                    if turn.payable is not None:
                        return record, turn.payable
                case Edit():
                    agreed = turn.quote.total
                    request = turn.decision.edited_action.args
                case Reject() | Respond():
                    await self._hold.refused("rejected")
                    raise DeclinedError(turn.quote, turn.decision.message)
                case _:
                    assert_never(turn.decision)
        await self._hold.refused("no_agreement")
        raise wording.no_stable_price()

    async def _turn(
        self, record: CallRecord, request: VoiceCallInput, number: int, agreed: Decimal | None
    ) -> _Turn:
        """One offer, kept from before or asked for now, and what a person says to it."""
        context = {"decisionContext": record.request.get("decisionContext")}
        body = request.model_dump(exclude_none=True) | context
        known = next(iter(_offers(record)[number : number + 1]), None)
        if known is not None and self._is_past(known, body):
            quote = self._client.read_offer(known.source).quote
            decision = await self._said_of_past(record, number, known, agreed)
            return _Turn(record, quote, decision, None)
        offer: Offer | Placement
        if fresh := known is None or known.request != body:
            record, offer = await self._offered(record, body, number)
        else:
            offer = self._client.read_offer(known.source)
        if isinstance(offer, Placement):
            return _Turn(record, None, None, offer)
        quote = offer.quote
        async with self._hold.refusing():
            self._policy.check_quote(request, quote)
            await self._check(request, quote)
        if not self._asks(request, quote, agreed):
            return _Turn(record, quote, None, offer if fresh or _stands(quote) else None)
        question = self._question(request, quote, agreed)
        record, decision = await self._decision(record, number, question)
        return _Turn(record, quote, decision, offer if _stands(quote) else None)

    def _is_past(self, known: _Offered, body: dict[str, Any]) -> bool:
        """Whether an offer is on record for the sake of its answer only.

        Its attempt came to nothing, or a program with another configuration made it.
        """
        asked = known.asked_as is not None
        return known.over or (self._replays and asked and known.request != body)

    @property
    def _replays(self) -> bool:
        """Whether a person's answers are given again, in order, when the tool is run again."""
        return self._approval == "interrupt"

    async def _said_of_past(
        self, record: CallRecord, number: int, known: _Offered, agreed: Decimal | None
    ) -> Decision | None:
        """The answer to an offer that can't be paid any more, if it can be heard at all."""
        if not self._replays and known.asked_as not in self._answers:
            return None
        request = VoiceCallInput.model_validate(known.request)
        quote = self._client.read_offer(known.source).quote
        question = self._question(request, quote, agreed)
        return (await self._decision(record, number, question))[1]

    async def _offered(
        self, record: CallRecord, body: dict[str, Any], number: int
    ) -> tuple[CallRecord, Offer | Placement]:
        """A new offer, on record."""
        record, offer = await self._priced(record, body)
        if isinstance(offer, Placement):
            log.warning("call %s was placed without being paid for", self._hold.name)
            return record, offer
        kept = [*_offers(record)[:number], _Offered(body, offer.source)]
        record = await self._write_down(record, kept, approval_id_of(record), offer.quote)
        await self._teller.tell("quoted", cost=offer.quote.total, quote=offer.quote)
        return record, offer

    async def _mark_asked(self, record: CallRecord, number: int) -> CallRecord:
        """Put on record that a person is being asked, and as which question, before they are."""
        offers = _offers(record)
        asked_as = max([self._heard, *(o.asked_as + 1 for o in offers if o.asked_as is not None)])
        offers[number] = replace(offers[number], asked_as=asked_as)
        quote = self._client.read_offer(offers[number].source).quote
        return await self._write_down(record, offers, approval_id_of(record), quote)

    async def _priced(
        self, record: CallRecord, body: dict[str, Any]
    ) -> tuple[CallRecord, Offer | Placement]:
        """Ask for a price; where the account holds the call, wait for its person, and ask again."""
        try:
            return record, await self._client.quote(body, headers_for(record, self._policy))
        except VoiceCallError as refusal:
            if refusal.code != "approval_required":
                await self._hold.refused(refusal.code)
                raise
            record = await self._account_approved(record, refusal)
        async with self._hold.refusing():
            return record, await self._client.quote(body, headers_for(record, self._policy))

    async def _account_approved(self, record: CallRecord, held: VoiceCallError) -> CallRecord:
        """Wait until the person whom the account's rules name has approved the call.

        Until they have answered the call stays as it is, and a later run goes on waiting.
        """
        approval_id = held.details.get("approval_id")
        heard = approval_id in self._released or len(self._released) >= _MOST_RELEASES
        if not isinstance(approval_id, str) or heard:
            await self._hold.refused(held.code)
            raise held
        record = await self._write_down(record, _offers(record), approval_id, None)
        await self._teller.tell("awaiting_approval")
        deadline = time.monotonic() + self._patience
        while True:
            status = "pending"
            with suppress(WeatherError):
                status = await self._client.approval_status(approval_id)
            if status == "approved":
                self._released.add(approval_id)
                return record
            if status in _NO_LONGER_PENDING:
                await self._hold.refused(f"approval_{status}")
                raise wording.account_approval_ended(status, approval_id)
            if time.monotonic() > deadline:
                raise wording.account_approval_pending(held.details)
            await anyio.sleep(min(_APPROVAL_PAUSE, self._patience / 10))

    async def _write_down(
        self,
        record: CallRecord,
        offers: list[_Offered],
        approval_id: str | None,
        quote: VoiceCallQuote | None,
    ) -> CallRecord:
        """Record the offers so far; the last one, if it is new, is the call's quote."""
        last = offers[-1].request if offers else record.request
        target = last["target_number"]
        return await self._hold.quoted(
            {"offers": [asdict(offer) for offer in offers], "approval_id": approval_id},
            quote_id=quote.quote_id if quote else None,
            expires_at=quote.expires_at.timestamp() if quote and quote.expires_at else None,
            request=last,
            numbers=(target,) if isinstance(target, str) else tuple(target),
        )

    async def _refuse_suppressed(self, numbers: tuple[str, ...]) -> None:
        listed = await self._hold.journal.suppressed(numbers)
        if listed:
            raise wording.number_suppressed(listed)

    async def _check(self, request: VoiceCallInput, quote: VoiceCallQuote) -> None:
        """The application's own check. One that fails to answer has not said yes."""
        check = self._policy.check
        if check is None:
            return
        problem = await call_user(check, request, quote)
        if problem is not None:
            raise wording.refused_by_application(problem)

    def _asks(self, request: VoiceCallInput, quote: VoiceCallQuote, agreed: Decimal | None) -> bool:
        """Whether to ask a person: not again for what costs no more than they agreed to."""
        above = self._policy.require_approval_above
        small = above is not None and self._policy.worst_case(request, quote) <= above
        settled = agreed is not None and quote.total <= agreed
        return self._approval != "never" and not small and not settled

    def _question(
        self, request: VoiceCallInput, quote: VoiceCallQuote, agreed: Decimal | None
    ) -> Question:
        return Question(
            request=request,
            quote=quote,
            worst_case=self._policy.worst_case(request, quote),
            tool_call_id=self._tool_call_id,
            agreed_before=agreed,
        )

    async def _decision(
        self, record: CallRecord, number: int, question: Question
    ) -> tuple[CallRecord, Decision]:
        """Ask a person, or hear what they have said to this very question."""
        asked_as = _offers(record)[number].asked_as
        if asked_as in self._answers:
            return record, self._answers[asked_as]
        await self._teller.tell("awaiting_approval")
        async with self._hold.refusing():
            if self._replays:
                decision = await self._answer_of_graph(record, number, question)
            else:
                record = await self._mark_asked(record, number)
                decision = await ask(self._approval, question)
        self._answers[_offers(record)[number].asked_as] = decision
        return record, decision

    async def _answer_of_graph(
        self, record: CallRecord, number: int, question: Question
    ) -> Decision:
        """The answer of the person behind a graph to this question.

        A graph gives its answers in the order of the questions, one that was not used perhaps
        twice, and stops at the first question that has none. So what it gives in answer to a
        question that is not on record as asked was said to another one.
        """
        asked_as = _offers(record)[number].asked_as
        while asked_as is None:
            await self._mark_asked(record, number)
            await ask(self._approval, question)
            self._heard += 1
        while True:
            decision = await ask(self._approval, question)
            self._heard += 1
            if self._heard > asked_as:
                return decision


def headers_for(record: CallRecord, policy: CallPolicy) -> dict[str, str]:
    """What goes along with both legs: our key, the cap, the account's approval."""
    cap, approval_id = policy.max_cost_per_call, approval_id_of(record)
    headers = {"Idempotency-Key": record.call_key}
    if cap is not None:
        headers["X-Max-Cost-USDC"] = str(cap)
    if approval_id is not None:
        headers["X-Approval-Id"] = approval_id
    return headers


def quote_of(record: CallRecord) -> VoiceCallQuote | None:
    """The quote that a call was last offered."""
    offers = _offers(record)
    return read_quote(offers[-1].source["body"]) if offers else None


def approval_id_of(record: CallRecord) -> str | None:
    """The approval at the provider that the call was held for."""
    return (record.quote or {}).get("approval_id")


def _offers(record: CallRecord) -> list[_Offered]:
    return [_Offered(**offer) for offer in (record.quote or {}).get("offers", ())]


def _stands(quote: VoiceCallQuote) -> bool:
    expires = quote.expires_at
    return expires is None or time.time() + _QUOTE_MARGIN < expires.timestamp()
