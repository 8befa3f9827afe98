"""OneShotClient: the service's routes, one method each.

Promises: a request is sent again only where that is safe (a quote, a look-up: yes; the paid leg:
never from here); every refusal comes out as a typed `VoiceCallError`; where the service gave no
answer that can be trusted, that is said in so many words (`PlacementUnansweredError`,
`WeatherError`) and never passed off as one. What to do about it is the caller's business.
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
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.oneshot import answers, payment
from langchain_oneshot_voice.oneshot.answers import Answer, Job, Placement
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.rate_limit import LONGEST_PAUSE, RateLimit
from langchain_oneshot_voice.oneshot.reading import beside_others, fields, line, name
from langchain_oneshot_voice.oneshot.transport import (
    Limits,
    OverBoundsError,
    Transport,
    WeatherError,
)
from langchain_oneshot_voice.oneshot.wallet import AccessToken, Credential, Scope, WalletKey
from langchain_oneshot_voice.schemas import VoiceCallQuote
from langchain_oneshot_voice.timing import DEFAULT_TIMING, Timing

log = logging.getLogger(__name__)

_CALL_ROUTE = "/v1/tools/voice/call"
_RECEIPTS_PAGE = 100
_NOT_NOW = {408, 425, 429}
"""Timed out, too early, too many: said of the moment, not of the request."""
_CURED_BY_A_NEW_PROOF = {"expired", "already_used"}


@dataclass(frozen=True, slots=True)
class Offer:
    """A 402 answer, read and not yet checked: what the call costs and how it is to be paid.

    Attributes:
        quote: the price and the plan.
        required: what is asked to be signed; `None` for an access token, which signs nothing.
        source: the answer as received, from which `read` makes the same offer again.
    """

    quote: VoiceCallQuote
    required: payment.PaymentRequired | None
    source: dict[str, Any] = field(repr=False)

    @classmethod
    def read(cls, source: Mapping[str, Any], *, signs: bool) -> Offer:
        """Read an offer from the answer's `body` and its `PAYMENT-REQUIRED` header.

        Raises:
            PaymentTermsError: when either can't be read.
        """
        body, header = fields(source["body"]), source["header"]
        quoted = answers.read_quote(body)
        return cls(quoted, payment.read_required(header, body) if signs else None, dict(source))


class PlacementUnansweredError(WeatherError):
    """The paid leg was sent and its fate is not known."""

    def __init__(self, why: str, *, retry_after: float | None = None, used: bool = False) -> None:
        super().__init__(why, retry_after=retry_after)
        self.used = used
        """The service says that this quote or payment was used: an attempt went through."""


class OneShotClient:
    """The OneShot voice API for one credential. Lives on one event loop.

    Args:
        environment: where the service is.
        credential: who pays.
        transport: the connections to the service; not closed from here.
        timing: how long to wait for answers.
        attempts: how often a safe request is tried in all.
        rate_limit: what all clients of this credential know of the service's rate limit.

    Attributes:
        told_at: the service's clock in its last answer, in epoch seconds; `None` if it didn't say.
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
        self.told_at: float | None = None

    async def address(self) -> str:
        """The wallet's address: the key's own, or what the service says of the token."""
        if self._address is None:
            if isinstance(self.credential, WalletKey):
                wallet = self.credential
                if not wallet.is_warm:
                    await anyio.to_thread.run_sync(lambda: wallet.address)
                self._address = wallet.address
            else:
                self._address = await self._token_address(self.credential)
        return self._address

    async def proof(self, scope: Scope) -> dict[str, str]:
        """Headers that say who asks, and prove it. Good for one request."""
        agent = {"X-Agent-ID": await self.address()}
        if isinstance(self.credential, AccessToken):
            return agent | self.credential.bearer()
        return agent | self.credential.proof(scope, time.time())

    async def quote(
        self, body: Mapping[str, Any], headers: Mapping[str, str], *, credits_count: bool = True
    ) -> Offer | Placement:
        """Leg one: ask for the price. Tried again when there is no answer; nothing is paid.

        Args:
            body: the request, in the API's own fields.
            headers: what else to send along, such as an approval.
            credits_count: whether a wallet's prepaid credits are to pay their part of the price.

        Returns:
            The offer; or a placement, should the service place the call without being paid.

        Raises:
            VoiceCallError: on a refusal, or when the service stays unreachable.
        """

        async def ask() -> Answer:
            return await self._proved(
                "POST", _CALL_ROUTE, scope, self._timing.quote, body=body, headers=headers
            )

        # The credits of a wallet that proves nothing are not counted; a token has nothing else.
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
        """An offer from what was received for it, now or before.

        Raises:
            PaymentTermsError: when it can't be read.
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
        """Leg two: pay and ring. Sent once; the same bytes may be presented again by the caller.

        Args:
            body: exactly the body that was quoted.
            headers: what else was sent along on leg one.
            quote_id: the quote that is being taken.
            payment_header: the exact signed payment; `None` for an access token.
            proved: whether a signed payment identifies the wallet already; else a proof goes too.

        Raises:
            VoiceCallError: the service said no; it charged nothing for this presentation.
            WeatherError: with `unsent`, when the request never left this machine.
            PlacementUnansweredError: when nobody can know yet what became of it.
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
                at_once=True,
            )
        except WeatherError as weather:
            if weather.unsent:
                raise
            raise PlacementUnansweredError(weather.why) from None
        finally:  # a payment is money, and tracebacks can show local variables
            del extra, payment_header
        placement = answers.read_placement(answer)
        if placement is not None:
            return placement
        if answer.status == 409:  # noqa: PLR2004
            raise PlacementUnansweredError("HTTP 409: used already", used=True)
        if not 400 <= answer.status < 500 or _is_weather(answer) or answer.code is None:  # noqa: PLR2004
            raise PlacementUnansweredError(
                f"HTTP {answer.status} without a verdict", retry_after=answer.retry_after
            )
        raise answers.refusal(answer)

    async def job(self, request_id: str) -> Job:
        """The state of a placed call, as the service tells it. Asked once.

        Raises:
            WeatherError: for anything but a job. A call that was placed exists, whatever the
                service says at the moment: 404 and 401 are weather here as well.
        """
        path = f"/v1/requests/{url_quote(request_id, safe='')}"
        answer = await self._proved("GET", path, "read", self._timing.answer)
        job = answers.read_job(answer.body)
        another = job is not None and job.raw.get("request_id", request_id) != request_id
        if answer.status != 200 or job is None or another:  # noqa: PLR2004
            raise WeatherError(
                f"HTTP {answer.status} while waiting", retry_after=answer.retry_after
            )
        return job

    async def find_receipt(self, call_key: str, since: float) -> Placement | None:
        """Look for a call of ours among the receipts, by its key.

        Args:
            call_key: what leg one and two carried in `decisionContext`.
            since: epoch seconds; no receipt of it can be older.

        Returns:
            The call; or `None` when the complete list since then does not have it.

        Raises:
            WeatherError: when the list could not be had, or is not complete.
        """
        start = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        query = {"since": start.replace("+00:00", "Z"), "limit": str(_RECEIPTS_PAGE)}
        for asked in (query, {}):  # should the service not take the query, its own page will do
            answer = await self._proved(
                "GET", "/v1/analytics/receipts", "read", self._timing.answer, query=asked
            )
            if answer.status != 400:  # noqa: PLR2004
                break
        body = answer.body
        if answer.status != 200 or body is None or not isinstance(body.get("receipts"), list):  # noqa: PLR2004
            raise WeatherError(
                f"HTTP {answer.status} from receipts", retry_after=answer.retry_after
            )
        found = answers.receipt_for(body, call_key)
        if found is None and not answers.is_whole_list(body, _RECEIPTS_PAGE if asked else 1):
            raise WeatherError("the list of receipts is longer than one answer")
        return found

    async def approval_status(self, approval_id: str) -> str:
        """How an approval at the provider stands: `pending`, `approved`, `denied` and the like.

        Raises:
            WeatherError: when it can't be read now.
        """
        path = f"/v1/approvals/{url_quote(approval_id, safe='')}"
        answer = await self._proved("GET", path, "read", self._timing.answer)
        body = fields(answer.body)
        status = line((fields(body.get("data")) or body).get("status"))
        if answer.status != 200 or status is None:  # noqa: PLR2004
            raise WeatherError(f"HTTP {answer.status} for an approval")
        return status

    async def balance(self) -> dict[str, Any]:
        """What the wallet and its credits hold, as the service tells it.

        Raises:
            VoiceCallError: when it can't be had.
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
        """Send with a fresh proof; sign anew, once, when the service says that cures it."""
        for first in (True, False):
            who = {"X-Agent-ID": await self.address()} if scope is None else await self.proof(scope)
            sent = dict(headers or {}) | who
            try:
                answer = await self._send(method, path, begin, rest, headers=sent, **more)
            except WeatherError as weather:
                if first:
                    raise
                # It was sent before, whatever became of it this time.
                raise WeatherError(weather.why, retry_after=weather.retry_after) from None
            reason = name(fields(answer.body).get("reason"))
            curable = answer.code == "invalid_proof" and reason in _CURED_BY_A_NEW_PROOF
            by_token = isinstance(self.credential, AccessToken)  # there is nothing to sign anew
            if scope is None or by_token or not curable:
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
        at_once: bool = False,
        **more: Any,  # noqa: ANN401 - passed on to the transport
    ) -> Answer:
        """One request, one answer; any trouble on the way is a `WeatherError`."""
        if not at_once:
            await self.rate_limit.rest()
        times = self._timing
        limits = Limits(times.connect, begin, times.answer_rest if rest is None else rest)
        reply = await self._transport.exchange(method, path, limits, **more)
        log.debug("%s %s -> %s", method, path.partition("?")[0], reply.status)
        answer = await beside_others(Answer.of, reply, len(reply.body))
        self.told_at = answer.told_at
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS and answer.retry_after:
            self.rate_limit.heed(answer.retry_after)
        return answer

    async def _retried(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer that says something. For what is safe to repeat only."""

        async def attempt() -> Answer:
            answer = await ask()
            if _is_weather(answer):
                raise _WeatherAnswerError(answer)
            return answer

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._attempts),
            wait=_pause,
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except _WeatherAnswerError as weather:
            raise answers.refusal(weather.answer) from None
        except WeatherError as weather:
            raise wording.service_unreachable(weather.why) from None


class _WeatherAnswerError(WeatherError):
    def __init__(self, answer: Answer) -> None:
        # A rate limit is waited for by all requests of the wallet, each in its turn.
        limited = answer.status == HTTPStatus.TOO_MANY_REQUESTS
        retry_after = None if limited else answer.retry_after
        super().__init__(f"HTTP {answer.status}", retry_after=retry_after)
        self.answer = answer


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may get an answer later."""
    return isinstance(error, WeatherError) and not isinstance(error, OverBoundsError)


def _is_weather(answer: Answer) -> bool:
    """Whether an answer is a failure on the way rather than a verdict on the request."""
    if answer.status in _NOT_NOW or answer.status >= 500:  # noqa: PLR2004
        return True
    return answer.body is None  # HTML from a proxy, an empty or a broken body


def _pause(state: RetryCallState) -> float:
    """Before the next attempt: as long as the service asks, else exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, WeatherError) else None
    backoff = float(wait_random_exponential(multiplier=0.25, max=8)(state))
    return min(max(asked or 0.0, backoff), LONGEST_PAUSE)


def _require_object(answer: Answer) -> dict[str, Any]:
    if answer.status != 200 or answer.body is None:  # noqa: PLR2004
        error: VoiceCallError = answers.refusal(answer)
        raise error
    return answer.body
