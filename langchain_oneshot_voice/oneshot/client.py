"""OneShotClient: one method for each route of the service.

Promises: the client retries only requests that are safe to repeat. It retries quotes and lookups,
never the payment. Every refusal becomes a typed `VoiceCallError`. Without an answer that can be
trusted, it raises `NoVerdictError` or `PlacementUnansweredError`. The code that calls the client
decides what to do next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote as url_quote

import anyio
import anyio.to_thread

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.oneshot import answers, payment
from langchain_oneshot_voice.oneshot.answers import Answer, Job, Placement
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.rate_limit import LONGEST_PAUSE, RateLimit
from langchain_oneshot_voice.oneshot.reading import fields, line, name, parse_in_background
from langchain_oneshot_voice.oneshot.transport import (
    Limits,
    NoVerdictError,
    OverBoundsError,
    Transport,
)
from langchain_oneshot_voice.oneshot.wallet import AccessToken, Credential, Scope, WalletKey
from langchain_oneshot_voice.schemas import VoiceCallQuote
from langchain_oneshot_voice.timing import DEFAULT_TIMING, Timing

log = logging.getLogger(__name__)

_CALL_ROUTE = "/v1/tools/voice/call"
_RECEIPTS_PAGE = 100
_TRANSIENT = {408, 425, 429}
"""Timeout, too early, too many requests: the same request may succeed later."""
_FIXED_BY_NEW_PROOF = {"expired", "already_used"}


@dataclass(frozen=True, slots=True)
class Offer:
    """A parsed 402 answer: the price of a call and the payment terms, not yet checked.

    Attributes:
        quote: the price and the plan.
        required: the payment terms to sign; `None` for an access token, which signs nothing.
        source: the answer as received; `read` makes the same offer from it again.
    """

    quote: VoiceCallQuote
    required: payment.PaymentRequired | None
    source: dict[str, Any] = field(repr=False)

    @classmethod
    def read(cls, source: Mapping[str, Any], *, signs: bool) -> Offer:
        """Parse an offer from a 402 answer.

        Args:
            source: the answer's `body`, and the value of its `PAYMENT-REQUIRED` header as `header`.
            signs: True if the credential signs payments.

        Raises:
            PaymentTermsError: the body or the header is not readable.
        """
        body, header = fields(source["body"]), source["header"]
        quoted = answers.read_quote(body)
        return cls(quoted, payment.read_required(header, body) if signs else None, dict(source))


class PlacementUnansweredError(NoVerdictError):
    """The payment was sent, and it is not known whether the service accepted it."""

    def __init__(self, why: str, *, retry_after: float | None = None, used: bool = False) -> None:
        super().__init__(why, retry_after=retry_after)
        self.used = used
        """True if the service reports the quote or payment as used: an attempt succeeded."""


class OneShotClient:
    """The OneShot voice API for one credential. Belongs to one event loop.

    Args:
        environment: the address of the service, and its chain.
        credential: the wallet key or access token that pays.
        transport: the connections to the service; the client does not close them.
        timing: how long to wait for answers.
        attempts: how often to send a request that is safe to repeat, the first time included.
        rate_limit: the service's rate limit, shared by all clients of this credential.

    Attributes:
        service_time: the service's clock in its last answer, in epoch seconds; `None` if the
            answer had no date.
    """

    def __init__(
        self,
        environment: Environment,
        credential: Credential,
        transport: Transport,
        *,
        timing: Timing = DEFAULT_TIMING,
        attempts: int = 4,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self.environment = environment
        self.credential = credential
        self.rate_limit = rate_limit or RateLimit()
        self._transport = transport
        self._timing = timing
        self._attempts = attempts
        self._address: str | None = None
        self.service_time: float | None = None

    async def address(self) -> str:
        """Return the wallet's address. For an access token, the service reports it."""
        if self._address is None:
            if isinstance(self.credential, WalletKey):
                wallet = self.credential
                if not wallet.is_warm:  # the first use imports `eth_keys`, which is slow
                    await anyio.to_thread.run_sync(lambda: wallet.address)
                self._address = wallet.address
            else:
                self._address = await self._token_address(self.credential)
        return self._address

    async def proof(self, scope: Scope) -> dict[str, str]:
        """Return headers that identify and prove the sender of one request."""
        agent = {"X-Agent-ID": await self.address()}
        if isinstance(self.credential, AccessToken):
            return agent | self.credential.bearer()
        return agent | self.credential.proof(scope, time.time())

    async def quote(
        self, body: Mapping[str, Any], headers: Mapping[str, str], *, credits_count: bool = True
    ) -> Offer | Placement:
        """Leg one: request a price. Retries without an answer, since nothing is paid.

        Args:
            body: the request, in the API's own fields.
            headers: further headers, such as an approval.
            credits_count: True if the wallet's prepaid credits pay part of the price.

        Returns:
            The offer, or a placement if the service places the call without payment.

        Raises:
            VoiceCallError: the service refused the request or stayed unreachable.
        """

        async def ask() -> Answer:
            return await self._proved(
                "POST", _CALL_ROUTE, scope, self._timing.quote, body=body, headers=headers
            )

        # The service applies credits only with a proof. An access token always needs one.
        by_token = isinstance(self.credential, AccessToken)
        scope: Scope | None = "write" if credits_count or by_token else None

        answer = await self._retried(ask)
        placement = answers.read_placement(answer)
        if placement is not None:
            return placement
        if answer.status != 402 or answer.code not in {None, "payment_required"}:  # noqa: PLR2004
            raise answers.refusal(answer)
        return self.read_offer(
            {"body": answer.body, "header": answer.headers.get("payment-required")}
        )

    def read_offer(self, source: Mapping[str, Any]) -> Offer:
        """Parse an offer from the source of a new or an earlier one.

        Raises:
            PaymentTermsError: the source is not readable.
        """
        return Offer.read(source, signs=isinstance(self.credential, WalletKey))

    async def place(
        self,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        quote_id: str,
        payment_header: str | None,
        *,
        proved: bool,
    ) -> Placement:
        """Leg two: pay and place the call. Sends the request once.

        The caller may send the same bytes again: the service charges a nonce only once.

        Args:
            body: exactly the body that was quoted.
            headers: the further headers of leg one.
            quote_id: the quote to accept.
            payment_header: the exact signed payment; `None` for an access token.
            proved: True if a signed payment identifies the wallet; otherwise a proof is sent.

        Raises:
            VoiceCallError: the service refused, and charged nothing for this request.
            NoVerdictError: with `unsent`, if the request never left this machine.
            PlacementUnansweredError: it is not known yet whether the call was placed.
        """
        extra = dict(headers) | {"x-quote-id": quote_id}
        if payment_header is not None:
            extra["payment-signature"] = payment_header
        try:
            answer = await self._proved(
                "POST",
                _CALL_ROUTE,
                None if proved else "write",
                self._timing.payment,
                self._timing.payment_rest,
                body=body,
                headers=extra,
                ignore_rate_limit=True,  # a signed payment expires within minutes
            )
        except NoVerdictError as failure:
            if failure.unsent:
                raise
            raise PlacementUnansweredError(failure.why) from None
        finally:  # anyone can send this payment, and tracebacks can show locals
            del extra, payment_header
        placement = answers.read_placement(answer)
        if placement is not None:
            return placement
        if answer.status == 409:  # noqa: PLR2004
            raise PlacementUnansweredError("HTTP 409: used already", used=True)
        if not 400 <= answer.status < 500 or _is_transient(answer) or answer.code is None:  # noqa: PLR2004
            raise PlacementUnansweredError(
                f"HTTP {answer.status} without a verdict", retry_after=answer.retry_after
            )
        raise answers.refusal(answer)

    async def job(self, request_id: str) -> Job:
        """Return the state of a placed call. Asks once.

        Raises:
            NoVerdictError: the answer is not a job. A call that was placed exists, so even a 404 or
                a 401 only means that its state is not known now.
        """
        path = f"/v1/requests/{url_quote(request_id, safe='')}"
        answer = await self._proved("GET", path, "read", self._timing.answer)
        job = answers.read_job(answer.body)
        mismatch = job is not None and job.raw.get("request_id", request_id) != request_id
        if answer.status != 200 or job is None or mismatch:  # noqa: PLR2004
            raise NoVerdictError(
                f"HTTP {answer.status} while waiting", retry_after=answer.retry_after
            )
        return job

    async def find_receipt(self, call_key: str, since: float) -> Placement | None:
        """Look for a call among the receipts, by its key.

        Args:
            call_key: the key that both legs sent in `decisionContext`.
            since: epoch seconds; the call has no older receipt.

        Returns:
            The call, or `None` if the complete list since then does not contain it.

        Raises:
            NoVerdictError: the list is not available or not complete.
        """
        start = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        query = {"since": start.replace("+00:00", "Z"), "limit": str(_RECEIPTS_PAGE)}
        for asked in (query, {}):  # a service that rejects the query may accept none
            answer = await self._proved(
                "GET", "/v1/analytics/receipts", "read", self._timing.answer, query=asked
            )
            if answer.status != 400:  # noqa: PLR2004
                break
        body = answer.body
        if answer.status != 200 or body is None or not isinstance(body.get("receipts"), list):  # noqa: PLR2004
            raise NoVerdictError(
                f"HTTP {answer.status} from receipts", retry_after=answer.retry_after
            )
        found = answers.receipt_for(body, call_key)
        if found is None and not answers.is_whole_list(body, _RECEIPTS_PAGE if asked else 1):
            raise NoVerdictError("the list of receipts is longer than one answer")
        return found

    async def approval_status(self, approval_id: str) -> str:
        """Return the status of an approval at the provider, such as `pending` or `approved`.

        Raises:
            NoVerdictError: the status is not available now.
        """
        path = f"/v1/approvals/{url_quote(approval_id, safe='')}"
        answer = await self._proved("GET", path, "read", self._timing.answer)
        body = fields(answer.body)
        status = line((fields(body.get("data")) or body).get("status"))
        if answer.status != 200 or status is None:  # noqa: PLR2004
            raise NoVerdictError(f"HTTP {answer.status} for an approval")
        return status

    async def balance(self) -> dict[str, Any]:
        """Return the balances of the wallet and of its credits, as the service sent them.

        Raises:
            VoiceCallError: the service refused or stayed unreachable.
        """

        async def ask() -> Answer:
            return await self._proved("GET", "/v1/tools/balance", "read", self._timing.answer)

        return _require_object(await self._retried(ask))

    async def _token_address(self, token: AccessToken) -> str:
        async def ask() -> Answer:
            return await self._send(
                "GET", "/v1/agents/me", self._timing.answer, headers=token.bearer()
            )

        body = _require_object(await self._retried(ask))
        address = name(fields(body.get("data")).get("wallet_address"))
        if address is None or not payment.ADDRESS.fullmatch(address):
            raise wording.token_without_wallet()
        return address

    async def _proved(
        self,
        method: str,
        path: str,
        scope: Scope | None,
        begin: float,
        rest: float | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - passed on to the transport
    ) -> Answer:
        """Send with a new proof; sign another one, once, if the service asks for it."""
        for first in (True, False):
            who = {"X-Agent-ID": await self.address()} if scope is None else await self.proof(scope)
            sent = dict(headers or {}) | who
            try:
                answer = await self._send(method, path, begin, rest, headers=sent, **more)
            except NoVerdictError as failure:
                if first:
                    raise
                # Drop `unsent`: the request of the first round did reach the service.
                raise NoVerdictError(failure.why, retry_after=failure.retry_after) from None
            reason = name(fields(answer.body).get("reason"))
            fixable = answer.code == "invalid_proof" and reason in _FIXED_BY_NEW_PROOF
            by_token = isinstance(self.credential, AccessToken)  # a token signs no proof
            if scope is None or by_token or not fixable:
                break
            if first:
                log.info("proof refused (%s); signing a new one", reason)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        begin: float,
        rest: float | None = None,
        *,
        ignore_rate_limit: bool = False,
        **more: Any,  # noqa: ANN401 - passed on to the transport
    ) -> Answer:
        """Send one request and return its answer.

        Raises:
            NoVerdictError: no answer arrived.
        """
        if not ignore_rate_limit:
            await self.rate_limit.wait()
        times = self._timing
        limits = Limits(times.connect, begin, times.answer_rest if rest is None else rest)
        reply = await self._transport.exchange(method, path, limits, **more)
        log.debug("%s %s -> %s", method, path.partition("?")[0], reply.status)
        answer = await parse_in_background(Answer.of, reply, len(reply.body))
        self.service_time = answer.service_time
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS and answer.retry_after:
            self.rate_limit.pause_for(answer.retry_after)
        return answer

    async def _retried(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Send a request that is safe to repeat until the service accepts or refuses it.

        Raises:
            VoiceCallError: every attempt failed.
        """
        pauses = self._timing.pauses()
        attempts_left = self._attempts
        while True:
            attempts_left -= 1
            retry_after = 0.0
            try:
                answer = await ask()
            except NoVerdictError as failure:
                # A retry would get the same oversized or slow answer.
                if not attempts_left or isinstance(failure, OverBoundsError):
                    raise wording.service_unreachable(failure.why) from None
                retry_after = failure.retry_after or 0.0
            else:
                if not _is_transient(answer):
                    return answer
                if not attempts_left:
                    raise answers.refusal(answer)
                # After a 429, `RateLimit` already makes every request of the wallet wait.
                if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                    retry_after = answer.retry_after or 0.0
            await anyio.sleep(min(max(retry_after, next(pauses)), LONGEST_PAUSE))


def _is_transient(answer: Answer) -> bool:
    """Return True if an answer reports a temporary failure and decides nothing."""
    if answer.status in _TRANSIENT or answer.status >= 500:  # noqa: PLR2004
        return True
    return answer.body is None  # HTML from a proxy, an empty or a broken body


def _require_object(answer: Answer) -> dict[str, Any]:
    if answer.status != 200 or answer.body is None:  # noqa: PLR2004
        error: VoiceCallError = answers.refusal(answer)
        raise error
    return answer.body
