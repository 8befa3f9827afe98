"""The accounts: balances, prepaid credits, access tokens, receipts and used nonces.

Not thread-safe: the service holds its lock for every use.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from .chain import usd
from .clock import iso
from .quotes import Quote
from .records import Payment
from .refusals import Refusal


@dataclass
class Wallet:
    """The account of one address."""

    balance: Decimal
    credits: Decimal
    phone_numbers: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    spent_on: defaultdict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass
class Receipt:
    """The receipt of one paid call."""

    receipt_id: str
    request_id: str
    amount: Decimal
    created_at: float
    visible_at: float
    settlement_tx: str | None
    metadata: dict[str, Any]
    execution_status: str = "processing"

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON of the receipts route."""
        return {
            "receipt_id": self.receipt_id,
            "job_id": self.request_id,
            "category": "communication",
            "amount_usdc": usd(self.amount),
            "status": "settled",
            "execution_status": self.execution_status,
            "settlement_tx": self.settlement_tx,
            "metadata": self.metadata,
            "created_at": iso(self.created_at),
        }


class Ledger:
    """All wallets. A new one starts with the sandbox's starting balance and credits."""

    def __init__(
        self, *, balance: Decimal, credit: Decimal, payee: str, receipt_delay: float
    ) -> None:
        self._start = (balance, credit)
        self._payee = payee
        self._receipt_delay = receipt_delay
        self._wallets: dict[str, Wallet] = {}
        self._tokens: dict[str, str] = {}
        self._revoked: set[str] = set()
        self._nonces: set[tuple[str, str]] = set()
        self.payments: list[Payment] = []

    def wallet(self, address: str) -> Wallet:
        """Return the wallet of an address, in upper or lower case."""
        key = address.lower()
        if key not in self._wallets:
            balance, credit = self._start
            self._wallets[key] = Wallet(balance=balance, credits=credit)
        return self._wallets[key]

    def issue_token(self, address: str) -> str:
        """Create an access token for a wallet."""
        token = f"oneshot_{secrets.token_hex(32)}"
        self._tokens[token] = address.lower()
        return token

    def revoke_token(self, token: str) -> None:
        """Revoke a token."""
        self._revoked.add(token)

    def holder_of(self, token: str) -> str:
        """Return the address of a token.

        Raises:
            Refusal: 401, the token was revoked or never issued.
        """
        if token in self._revoked:
            raise Refusal(401, "access_token_revoked", "This access token was revoked.")
        if token not in self._tokens:
            raise Refusal(401, "invalid_access_token", "This access token is not known.")
        return self._tokens[token]

    def refuse_used(self, payer: str, nonce: str) -> None:
        """Refuse a payment with a used nonce.

        Raises:
            Refusal: 409 `payment_already_used`.
        """
        if (payer, nonce) in self._nonces:
            raise Refusal(409, "payment_already_used", "This payment was already settled.")

    def settle(self, quote: Quote, *, request_id: str, nonce: str | None, now: float) -> Receipt:
        """Charge a wallet for a quote, and create the receipt."""
        wallet = self.wallet(quote.wallet)
        wallet.balance -= quote.due
        wallet.credits -= quote.credits_applied
        wallet.spent_on[_day(now)] += quote.total
        if nonce is not None:
            self._nonces.add((quote.wallet, nonce))
        for amount, kind, by in (
            (quote.due, "usdc", nonce),
            (quote.credits_applied, "credits", None),
        ):
            if amount:
                self.payments.append(
                    Payment(
                        payer=checksummed(quote.wallet),
                        payee=self._payee,
                        amount=amount,
                        nonce=by,
                        request_id=request_id,
                        kind="usdc" if kind == "usdc" else "credits",
                    )
                )
        if quote.registration_fee:
            self.add_phone_number(quote.wallet, now=now)
        receipt = Receipt(
            receipt_id=f"rcpt_{secrets.token_hex(12)}",
            request_id=request_id,
            amount=quote.total,
            created_at=now,
            visible_at=now + self._receipt_delay,
            settlement_tx=f"0x{secrets.token_hex(32)}" if quote.due else None,
            metadata=_metadata(quote),
        )
        wallet.receipts.append(receipt)
        return receipt

    def spent_today(self, address: str, now: float) -> Decimal:
        """Return the US dollars that a wallet has spent since midnight UTC."""
        return self.wallet(address).spent_on[_day(now)]

    def add_phone_number(self, address: str, *, now: float) -> dict[str, Any]:
        """Assign a caller number to a wallet."""
        numbers = self.wallet(address).phone_numbers
        numbers.append(
            {
                "id": f"num_{secrets.token_hex(8)}",
                "phone_number": f"+1415555{199 - len(numbers):04d}",
                "status": "active",
                "created_at": iso(now),
            }
        )
        return numbers[-1]

    def receipts(self, address: str, *, since: float, now: float) -> Iterator[Receipt]:
        """Yield a wallet's receipts since a time, newest first, without those still delayed."""
        for receipt in reversed(self.wallet(address).receipts):
            if receipt.created_at < since:
                return
            if receipt.visible_at <= now:
                yield receipt


def checksummed(address: str) -> str:
    """Return an address in mixed case, which contains its checksum."""
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - slow to import

    return str(to_checksum_address(address))


def midnight_after(now: float) -> float:
    """Return the next midnight UTC, when the spending of a day starts again."""
    return (_day(now) + 1) * 86_400.0


def _day(now: float) -> int:
    return int(now // 86_400)


def _metadata(quote: Quote) -> dict[str, Any]:
    request = quote.request
    metadata: dict[str, Any] = {
        "tool": "voice",
        "target_numbers": list(request.numbers),
        "quote_id": quote.quote_id,
    }
    for name in ("memo", "decisionContext"):
        if request.body.get(name) is not None:
            metadata[name] = request.body[name]
    return metadata
