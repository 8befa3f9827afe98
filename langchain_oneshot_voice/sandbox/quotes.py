"""Prices and quotes. A quote is for one use of one wallet, and expires."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from .call_request import CallRequest
from .chain import usd
from .clock import iso
from .conversations import success_criteria
from .refusals import Refusal

PRICE_PER_MINUTE: Final = Decimal("0.35")
REGISTRATION_FEE: Final = Decimal("5.00")
_USUAL_MINUTES: Final = 5


@dataclass
class Quote:
    """A price for one call of one wallet.

    Attributes:
        credits_applied: the part that prepaid credits cover.
        due: the part to be paid with USDC; zero when credits cover all.
    """

    wallet: str
    request: CallRequest
    registration_fee: Decimal
    credits_applied: Decimal
    expires_at: float
    quote_id: str = field(default_factory=lambda: f"quote_{secrets.token_hex(12)}")
    used: bool = False

    @property
    def minutes(self) -> int:
        """The paid minutes."""
        return minutes_of(self.request)

    @property
    def call_cost(self) -> Decimal:
        """The price of the minutes."""
        return PRICE_PER_MINUTE * self.minutes

    @property
    def total(self) -> Decimal:
        """The price of the call, before credits."""
        return self.call_cost + self.registration_fee

    @property
    def due(self) -> Decimal:
        """The rest of the price, in USDC."""
        return self.total - self.credits_applied

    def context(self) -> dict[str, Any]:
        """Return the plan and the price for the body of the 402 answer."""
        return {
            "tool": "voice",
            "quote_id": self.quote_id,
            "target_numbers": list(self.request.numbers),
            "conference_mode": self.request.conference,
            "success_criteria": success_criteria(self.request),
            "estimated_duration_minutes": self.minutes,
            "complexity_score": 5 if self.request.conference else 3,
            "pipeline_fee": "0.00",
            "phone_registration_fee": usd(self.registration_fee),
            "estimated_call_cost": usd(self.call_cost),
            "total": usd(self.total),
            "needs_phone_registration": self.registration_fee > 0,
            "expires_at": iso(self.expires_at),
        }


class QuoteBook:
    """All quotes. Used ones stay, so that a second use gets an error of its own."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._quotes: dict[str, Quote] = {}

    def give(
        self, wallet: str, request: CallRequest, *, fee: Decimal, credit: Decimal, now: float
    ) -> Quote:
        """Create a quote. Credits pay as much of the price as they cover."""
        total = PRICE_PER_MINUTE * minutes_of(request) + fee
        quote = Quote(
            wallet=wallet,
            request=request,
            registration_fee=fee,
            credits_applied=min(credit, total),
            expires_at=now + self._lifetime,
        )
        self._quotes[quote.quote_id] = quote
        return quote

    def refuse_used(self, quote_id: str) -> None:
        """Refuse a quote that was used, even if it has expired since.

        Raises:
            Refusal: 409 `quote_already_used`.
        """
        quote = self._quotes.get(quote_id)
        if quote is not None and quote.used:
            raise Refusal(409, "quote_already_used", "A call was already placed with this quote.")

    def find(self, quote_id: str, wallet: str, request: CallRequest, *, now: float) -> Quote:
        """Return a valid quote of this wallet for exactly this request.

        Raises:
            Refusal: 404, the quote is unknown, another wallet's or expired; 400, it is for a
                different body.
        """
        quote = self._quotes.get(quote_id)
        if quote is None or quote.wallet != wallet:
            raise Refusal(404, "quote_not_found", "There is no such quote.")
        if now >= quote.expires_at:
            raise Refusal(404, "quote_expired", "This quote has expired; ask for a new one.")
        if quote.request.fingerprint != request.fingerprint:
            raise Refusal(400, "invalid_request", "The quote was given for a different request.")
        return quote


def minutes_of(request: CallRequest) -> int:
    """Return the minutes that a request is charged for."""
    return int(request.body.get("max_duration_minutes") or _USUAL_MINUTES)
