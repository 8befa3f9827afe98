"""The service without HTTP: quotes a call, takes the payment, rings the phone, reports the outcome.

Every method holds one lock, so that requests and the threads of a test never see a partial change.
It refuses a request by raising `Refusal`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from .account_rules import AccountRules
from .call_request import CallRequest, read_call_request
from .chain import Chain, usd
from .clock import Clock
from .ledger import Ledger, checksummed
from .line import Line
from .payments import (
    ZERO_NONCE,
    SignedPayment,
    offer,
    payment_required_header,
    read_payment,
    refuse_payment,
    verify_payment,
)
from .proofs import ProofChecker, Scope
from .quotes import REGISTRATION_FEE, Quote, QuoteBook
from .refusals import Refusal
from .switchboard import Job, Switchboard, logger, mask, new_request_id

Headers = Mapping[str, str]

_BEARER: Final = re.compile(r"Bearer (oneshot_[0-9a-f]{64})")
_MOST_RECEIPTS: Final = 100
_USUAL_RECEIPTS: Final = 20


@dataclass(frozen=True)
class Caller:
    """The sender of a request, and whether it proved its identity."""

    wallet: str
    proven: bool
    by_token: bool = False


@dataclass(frozen=True)
class PaymentRequired:
    """A 402 with a quote: its header and its body."""

    header: str
    body: dict[str, Any]


class Service:
    """The provider's side of the contract."""

    def __init__(
        self,
        *,
        chain: Chain,
        payee: str,
        call_seconds: float,
        balance: Decimal,
        credit: Decimal,
        authorization_seconds: int,
        quote_seconds: float,
        receipt_delay: float,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = Clock()
        self.ledger = Ledger(
            balance=balance, credit=credit, payee=payee, receipt_delay=receipt_delay
        )
        self.rules = AccountRules()
        self.line = Line()
        self.switchboard = Switchboard(self.lock, self.clock, call_seconds, self._call_ended)
        self._chain = chain
        self._payee = payee
        self._authorization_seconds = authorization_seconds
        self._quotes = QuoteBook(quote_seconds)
        self._proofs = ProofChecker()

    def identify(self, headers: Headers, *, scope: Scope, required: bool = True) -> Caller:
        """Return the sender of a request, from its access token, its proof or `X-Agent-ID`.

        Args:
            headers: the headers of the request.
            scope: what the route does.
            required: True if the sender has to prove its identity.

        Raises:
            Refusal: 400 without `X-Agent-ID`; 401 `proof_required`, `invalid_proof`,
                `access_token_revoked` or `invalid_access_token`; 403 `agent_mismatch`.
        """
        with self.lock:
            agent = headers.get("x-agent-id", "").lower()
            if "authorization" in headers:
                return self._token_holder(headers["authorization"], agent)
            if not agent:
                raise Refusal(400, "invalid_request", "The X-Agent-ID header is required.")
            proof = headers.get("x-agent-proof")
            if proof is not None:
                self._proofs.check(proof, agent=agent, scope=scope, now=self.clock.now())
            elif required:
                raise Refusal(401, "proof_required", "This route needs an x-agent-proof header.")
            return Caller(agent, proven=proof is not None)

    def quote(self, body: object, headers: Headers, url: str) -> PaymentRequired:
        """Leg one: quote a call.

        Raises:
            Refusal: 400, 401 or 403.
        """
        request = read_call_request(body)
        with self.lock:
            caller = self.identify(headers, scope="write", required=False)
            quote = self._price(caller, request)
            _check_budget_of_caller(quote, headers)
            self._check_rules(quote, headers, "quote")
            logger.info(
                "%s priced at $%s to %s",
                quote.quote_id,
                usd(quote.total),
                ", ".join(map(mask, request.numbers)),
            )
            return self._payment_required(quote, url)

    def pay(self, body: object, headers: Headers) -> dict[str, Any]:
        """Leg two: take the payment and ring the phone. Return the body of the 202.

        A used quote or payment gets a 409 before any other check, so that a client that sends it
        again learns that the first attempt arrived.

        Raises:
            Refusal: 400, 401, 402, 403, 404 or 409; nothing was charged.
        """
        request = read_call_request(body)
        quote_id = headers.get("x-quote-id")
        if not quote_id:
            raise Refusal(400, "quote_id_required", "The x-quote-id header is required.")
        signed = headers.get("payment-signature")
        payment = read_payment(signed) if signed is not None else None
        with self.lock:
            self._quotes.refuse_used(quote_id)
            if payment is not None:
                self.ledger.refuse_used(payment.payer, payment.nonce)
            caller = self._payer(headers, payment)
            now = self.clock.now()
            quote = self._quotes.find(quote_id, caller.wallet, request, now=now)
            _check_budget_of_caller(quote, headers)
            self._check_rules(quote, headers, "paid")
            self._check_payment(quote, caller, payment)
            return self._place(quote, payment, headers)

    def job(self, request_id: str, caller: Caller) -> dict[str, Any]:
        """Return the state of a call of this wallet.

        Raises:
            Refusal: 404, the wallet has no such call.
        """
        with self.lock:
            job = self.switchboard.find(request_id)
            if job is None or job.quote.wallet != caller.wallet:
                raise Refusal(404, "not_found", "There is no such request.")
            return job.to_wire()

    def balance(self, caller: Caller) -> dict[str, Any]:
        """Return the balances of a wallet."""
        with self.lock:
            wallet = self.ledger.wallet(caller.wallet)
            return {
                "on_chain_balance": usd(wallet.balance),
                "credits_balance": usd(wallet.credits),
                "currency": "USDC",
                "address": checksummed(caller.wallet),
                "chain_id": self._chain.chain_id,
            }

    def receipts(self, caller: Caller, query: Mapping[str, str]) -> dict[str, Any]:
        """Return a wallet's receipts, newest first.

        Raises:
            Refusal: 400, `since` or `limit` is invalid.
        """
        limit = _limit(query.get("limit"))
        since = _since(query.get("since"))
        if query.get("category", "communication") != "communication":
            return {"receipts": [], "count": 0, "has_more": False}
        with self.lock:
            found = []
            for receipt in self.ledger.receipts(caller.wallet, since=since, now=self.clock.now()):
                found.append(receipt.to_wire())
                if len(found) > limit:
                    break
        shown = found[:limit]
        return {"receipts": shown, "count": len(shown), "has_more": len(found) > limit}

    def agent(self, caller: Caller) -> dict[str, Any]:
        """Return the account of a credential."""
        return {
            "data": {"wallet_address": checksummed(caller.wallet), "chain_id": self._chain.chain_id}
        }

    def budgets(self, caller: Caller) -> dict[str, Any]:
        """Return the budgets of an account, and its spending today."""
        with self.lock:
            now = self.clock.now()
            spent = self.ledger.spent_today(caller.wallet, now)
            return {"data": self.rules.budgets(caller.wallet, spent=spent, now=now)}

    def set_budgets(self, caller: Caller, body: object) -> dict[str, Any]:
        """Replace the budgets of an account. An access token can't do this.

        Raises:
            Refusal: 400, the budgets are invalid; 403, the caller uses an access token.
        """
        if caller.by_token:
            raise Refusal(403, "wallet_required", "An access token cannot change budgets.")
        with self.lock:
            self.rules.set_budgets(caller.wallet, body)
            return self.budgets(caller)

    def approval(self, approval_id: str, caller: Caller) -> dict[str, Any]:
        """Return an approval.

        Raises:
            Refusal: 404, the wallet has no such approval.
        """
        with self.lock:
            approval = self.rules.approval(approval_id, caller.wallet)
            return approval.to_wire(self.clock.now())

    def phone_numbers(self, caller: Caller) -> dict[str, Any]:
        """Return the caller numbers of an agent."""
        with self.lock:
            return {"data": {"numbers": list(self.ledger.wallet(caller.wallet).phone_numbers)}}

    def buy_phone_number(self, caller: Caller) -> dict[str, Any]:
        """Assign a caller number to an agent, and charge its credits.

        Raises:
            Refusal: 402 `insufficient_credits`.
        """
        with self.lock:
            wallet = self.ledger.wallet(caller.wallet)
            if wallet.credits < REGISTRATION_FEE:
                raise _insufficient_credits(REGISTRATION_FEE, wallet.credits)
            wallet.credits -= REGISTRATION_FEE
            number = self.ledger.add_phone_number(caller.wallet, now=self.clock.now())
            return {"data": number}

    def _token_holder(self, authorization: str, agent: str) -> Caller:
        match = _BEARER.fullmatch(authorization)
        if match is None:
            raise Refusal(401, "invalid_access_token", "The access token is not well formed.")
        holder = self.ledger.holder_of(match.group(1))
        if agent and agent != holder:
            raise Refusal(403, "agent_mismatch", "The token belongs to another agent.")
        return Caller(holder, proven=True, by_token=True)

    def _payer(self, headers: Headers, payment: SignedPayment | None) -> Caller:
        """Return the payer. A signed payment proves its wallet; otherwise a proof is required."""
        if payment is None or payment.is_stub:
            return self.identify(headers, scope="write", required=payment is not None)
        agent = headers.get("x-agent-id", "").lower()
        if not agent:
            raise Refusal(400, "invalid_request", "The X-Agent-ID header is required.")
        return Caller(agent, proven=False)

    def _price(self, caller: Caller, request: CallRequest) -> Quote:
        wallet = self.ledger.wallet(caller.wallet)
        # A conference uses a shared caller number, and any other call one of the wallet's own.
        needs_number = not request.conference and not wallet.phone_numbers
        return self._quotes.give(
            caller.wallet,
            request,
            fee=REGISTRATION_FEE if needs_number else Decimal(0),
            credit=wallet.credits if caller.proven else Decimal(0),
            now=self.clock.now(),
        )

    def _terms(self, quote: Quote) -> dict[str, Any]:
        return offer(
            self._chain,
            amount=quote.due,
            payee=self._payee,
            timeout_seconds=self._authorization_seconds,
        )

    def _payment_required(self, quote: Quote, url: str) -> PaymentRequired:
        body = {
            "error": "payment_required",
            "payment_request": {
                "chain_id": self._chain.chain_id,
                "token_address": self._chain.asset,
                "amount": usd(quote.due),
                "recipient": self._payee,
            },
            "context": quote.context(),
        }
        return PaymentRequired(payment_required_header(self._terms(quote), url), body)

    def _check_rules(self, quote: Quote, headers: Headers, leg: str) -> None:
        now = self.clock.now()
        self.rules.check(
            quote,
            leg="quote" if leg == "quote" else "paid",
            approval_id=headers.get("x-approval-id"),
            spent=self.ledger.spent_today(quote.wallet, now),
            now=now,
        )

    def _check_payment(self, quote: Quote, caller: Caller, payment: SignedPayment | None) -> None:
        wallet = self.ledger.wallet(quote.wallet)
        if wallet.credits < quote.credits_applied:
            raise _insufficient_credits(quote.credits_applied, wallet.credits)
        terms = self._terms(quote)
        if payment is None:
            if not caller.by_token:
                raise refuse_payment("missing_payment", terms)
            if quote.due:
                raise _insufficient_credits(quote.total, wallet.credits)
        elif payment.is_stub:
            if quote.due or payment.value or payment.nonce != ZERO_NONCE:
                raise refuse_payment("amount_mismatch", terms, payment)
        else:
            verify_payment(
                payment,
                terms,
                chain=self._chain,
                agent=caller.wallet,
                balance=wallet.balance,
                now=self.clock.now(),
            )

    def _place(
        self, quote: Quote, payment: SignedPayment | None, headers: Headers
    ) -> dict[str, Any]:
        quote.used = True
        self.rules.consume(quote, headers.get("x-approval-id"))
        request_id = new_request_id()
        receipt = self.ledger.settle(
            quote,
            request_id=request_id,
            nonce=None if payment is None or payment.is_stub else payment.nonce,
            now=self.clock.now(),
        )
        logger.info("%s paid $%s", request_id, usd(quote.total))
        pick_up = self.line.pick_up(quote.request)
        self.switchboard.place(quote, pick_up, receipt, request_id)
        own = self.ledger.wallet(quote.wallet).phone_numbers
        return {
            "request_id": request_id,
            "status": "processing",
            "tool": "voice",
            "receipt_id": receipt.receipt_id,
            "settlement_status": "settled",
            "caller_number": None if quote.request.conference else own[0]["phone_number"],
            "target_numbers": list(quote.request.numbers),
            "conference_mode": quote.request.conference,
        }

    def _call_ended(self, job: Job, credit: Decimal) -> None:
        job.receipt.execution_status = job.pick_up.script.status
        self.ledger.wallet(job.quote.wallet).credits += credit


def _check_budget_of_caller(quote: Quote, headers: Headers) -> None:
    stated = headers.get("x-max-cost-usdc")
    if stated is None:
        return
    try:
        most = Decimal(stated)
        exceeded = quote.total > most
    except InvalidOperation:
        raise Refusal(400, "invalid_request", "X-Max-Cost-USDC must be an amount.") from None
    if exceeded:
        raise Refusal(
            400,
            "exceeds_caller_budget",
            f"The call costs ${usd(quote.total)}, more than X-Max-Cost-USDC allows.",
            details={"total": usd(quote.total), "max_cost_usdc": stated},
        )


def _insufficient_credits(required: Decimal, held: Decimal) -> Refusal:
    return Refusal(
        402,
        "insufficient_credits",
        "The prepaid credits do not cover this.",
        required_usdc=usd(required),
        credits_balance=usd(held),
        shortfall_usdc=usd(max(Decimal(0), required - held)),
    )


def _limit(value: str | None) -> int:
    if value is None:
        return _USUAL_RECEIPTS
    if not value.isdecimal() or not 1 <= int(value) <= _MOST_RECEIPTS:
        raise Refusal(400, "invalid_request", f"limit must be from 1 to {_MOST_RECEIPTS}.")
    return int(value)


def _since(value: str | None) -> float:
    if value is None:
        return 0.0
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise Refusal(400, "invalid_request", "since must be an ISO 8601 time.") from None
