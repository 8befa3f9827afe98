"""From a request to a price that everybody has agreed to, before anything is signed.

The application's policy first, then the service's quote, then the policy's view of the price, the
application's own check, a person's yes, and the account's own rules at the provider. What was
offered and asked is written down as it happens: when a paused graph runs the tool again, the price
that the person saw is the price that is paid. A quote that expired meanwhile is asked for again;
should it be dearer than what was agreed to, so is the person.
"""

from __future__ import annotations

import inspect
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, assert_never

import anyio
import anyio.to_thread

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
from langchain_oneshot_voice.errors import (
    CallRefusedError,
    ServiceUnavailableError,
    VoiceCallError,
)
from langchain_oneshot_voice.hold import Hold
from langchain_oneshot_voice.journal import CallRecord
from langchain_oneshot_voice.oneshot.answers import Placement, read_quote
from langchain_oneshot_voice.oneshot.client import Offer, OneShotClient, WeatherError
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.refusals import number_suppressed
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote

log = logging.getLogger(__name__)

_QUOTE_MARGIN = 15.0
"""Seconds before a quote's end in which it is not taken any more."""

_APPROVAL_PAUSE = 2.0
"""Seconds between looks at an approval at the provider."""

_MOST_TURNS = 10
"""Offers asked for in all, so that prices that never stand do not keep a call for ever."""

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

    def held_by_account(self, refusal: VoiceCallError) -> None:
        """The account's rules held the payment: wait for their person before the next quote."""
        self._held = refusal

    async def reach(
        self, record: CallRecord, request: VoiceCallInput
    ) -> tuple[CallRecord, Offer | Placement]:
        """Agree on a price for a request, or for what a person makes of it.

        Each turn has an offer, kept from before or asked for now, and may have a question. The
        turns come in the same order whenever the tool is run again, as a graph's answers do.

        Returns:
            The offer to be paid, on record; or a placement, should the service ring unpaid.

        Raises:
            VoiceCallError: a no of the policy, the service, the account or the application.
            DeclinedError: a person's no.
        """
        if self._held is not None:
            held, self._held = self._held, None
            record = await self._account_approved(record, held)
        agreed: Decimal | None = None
        for turn in range(_MOST_TURNS):
            async with self._hold.refusing():
                request = self._policy.read_request(request)
                await self._refuse_suppressed(request.numbers)
            record, offer, fresh = await self._offered(record, request, turn)
            if isinstance(offer, Placement):
                return record, offer
            quote = offer.quote
            async with self._hold.refusing():
                self._policy.check_quote(request, quote)
                await self._check(request, quote)
                asks = self._asks(request, quote, agreed)
                decision = await self._decision(request, quote, agreed) if asks else Approve()
            match decision:
                case Approve():
                    agreed = max(agreed or quote.total, quote.total)
                    if (fresh and not asks) or _stands(quote):
                        return record, offer
                case Edit():
                    agreed = quote.total
                    request = decision.edited_action.args
                case Reject() | Respond():
                    await self._hold.refused("rejected")
                    raise DeclinedError(quote, decision.message)
                case _:
                    assert_never(decision)
        await self._hold.refused("no_agreement")
        raise ServiceUnavailableError(
            "No price stood for long enough to be paid.", advice="Try again later."
        )

    async def _offered(
        self, record: CallRecord, request: VoiceCallInput, turn: int
    ) -> tuple[CallRecord, Offer | Placement, bool]:
        """This turn's offer, and whether it is new: else it is on record for the same request."""
        context = {"decisionContext": record.request.get("decisionContext")}
        body = request.model_dump(exclude_none=True) | context
        offers = _offers(record)
        if turn < len(offers) and offers[turn].request == body:
            return record, self._client.read_offer(offers[turn].source), False
        record, offer = await self._asked(record, body)
        if isinstance(offer, Placement):
            log.warning("call %s was placed without being paid for", self._hold.name)
            return record, offer, True
        kept = [*offers[:turn], _Offered(body, offer.source)]
        record = await self._write_down(record, kept, approval_id_of(record), offer.quote)
        await self._teller.tell("quoted", cost=offer.quote.total, quote=offer.quote)
        return record, offer, True

    async def _asked(
        self, record: CallRecord, body: dict[str, Any]
    ) -> tuple[CallRecord, Offer | Placement]:
        """Ask for a price; where the account holds the call, wait for its person, and ask again."""
        try:
            return record, await self._client.quote(body, headers_for(record, self._policy))
        except VoiceCallError as refusal:
            if refusal.code != "approval_required" or approval_id_of(record) is not None:
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
        if not isinstance(approval_id, str):
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
                return record
            if status in _NO_LONGER_PENDING:
                await self._hold.refused(f"approval_{status}")
                raise CallRefusedError(
                    f"The account's rules held this call for a person's approval; it is {status}.",
                    code=f"approval_{status}",
                    advice="Do not retry; tell the user.",
                    details={"approval_id": approval_id},
                )
            if time.monotonic() > deadline:
                raise CallRefusedError(
                    "The account's rules hold this call until a person approves it, and nobody"
                    " has answered yet.",
                    code="approval_required",
                    advice="Tell the user that it waits for approval at the provider. The same"
                    " call, asked for again later, goes on from there.",
                    safe_to_retry=True,
                    details=held.details,
                )
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
            raise number_suppressed(listed)

    async def _check(self, request: VoiceCallInput, quote: VoiceCallQuote) -> None:
        """The application's own check. One that fails to answer has not said yes."""
        check = self._policy.check
        if check is None:
            return
        if inspect.iscoroutinefunction(check):
            problem = await check(request, quote)
        else:
            problem = await anyio.to_thread.run_sync(check, request, quote)
            if inspect.isawaitable(problem):
                problem = await problem
        if problem is not None:
            raise CallRefusedError(
                f"The application does not allow this call: {problem}",
                code="refused_by_application",
            )

    def _asks(self, request: VoiceCallInput, quote: VoiceCallQuote, agreed: Decimal | None) -> bool:
        """Whether to ask a person: not again for what costs no more than they agreed to."""
        above = self._policy.require_approval_above
        small = above is not None and self._policy.worst_case(request, quote) <= above
        settled = agreed is not None and quote.total <= agreed
        return self._approval != "never" and not small and not settled

    async def _decision(
        self, request: VoiceCallInput, quote: VoiceCallQuote, agreed: Decimal | None
    ) -> Decision:
        await self._teller.tell("awaiting_approval")
        question = Question(
            request=request,
            quote=quote,
            worst_case=self._policy.worst_case(request, quote),
            tool_call_id=self._tool_call_id,
            agreed_before=agreed,
        )
        return await ask(self._approval, question)


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
