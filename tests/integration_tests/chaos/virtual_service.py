"""A model of the service on virtual time: what it took, and what it rang."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chaos.virtual_time import VirtualClock
from langchain_oneshot_voice.errors import CallRefusedError
from langchain_oneshot_voice.oneshot.answers import Placement
from langchain_oneshot_voice.oneshot.client import PlacementUnansweredError

BASE_URL = "http://127.0.0.1:9"
_PAYEE = "0x" + "ab" * 20
_CALL_SECONDS = 60.0
_QUOTE_SECONDS = 600.0
_AUTHORIZATION_SECONDS = 300


@dataclass
class Service:
    """The service's books. A nonce and a quote count once; its clock is always right."""

    clock: VirtualClock
    receipt_delay: float
    forgetful: bool
    """Whether it forgets, once a quote has expired, that it was used."""
    key_of: Callable[[str], str]
    """The call key of a `goalId`."""
    payments: list[str] = field(default_factory=list)
    """The call key of each."""
    rings: list[tuple[str, float]] = field(default_factory=list)
    """The number and the moment of each."""
    overlaps: list[str] = field(default_factory=list)
    """Numbers that rang while they were on a call."""
    _quotes: dict[str, float] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)
    _receipts: list[tuple[float, str, str]] = field(default_factory=list)
    _ends: dict[str, float] = field(default_factory=dict)

    def quote(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A 402, as a client keeps it."""
        quote_id = f"quote_{len(self._quotes)}"
        self._quotes[quote_id] = self.clock.time() + _QUOTE_SECONDS
        expires = datetime.fromtimestamp(self._quotes[quote_id], UTC).isoformat()
        terms = {
            "x402Version": 2,
            "accepts": [
                {
                    "scheme": "exact",
                    "network": "eip155:84532",
                    "amount": "1750000",
                    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
                    "payTo": _PAYEE,
                    "maxTimeoutSeconds": _AUTHORIZATION_SECONDS,
                    "extra": {"name": "USDC", "version": "2"},
                }
            ],
        }
        context = {
            "quote_id": quote_id,
            "total": "1.75",
            "target_numbers": [body["target_number"]],
            "expires_at": expires,
        }
        return {
            "body": {"payment_request": {"recipient": _PAYEE}, "context": context},
            "header": base64.b64encode(json.dumps(terms).encode()).decode(),
        }

    def pay(self, body: Mapping[str, Any], quote_id: str, header: str | None) -> Placement:
        """Leg two. Raises what the client would for a refusal or a 409."""
        now = self.clock.time()
        nonce, valid_after, valid_before = _read(header)
        self._refuse_used(quote_id, nonce)
        if self._quotes[quote_id] <= now:
            raise CallRefusedError("The quote is gone.", code="quote_expired")
        if not valid_after <= now < valid_before:
            raise CallRefusedError("Not valid now.", code="payment_verification_failed")
        self._used |= {quote_id, nonce} - {""}
        return self._place(body, now)

    def refuse(self, quote_id: str, header: str | None) -> None:
        """Leg two, refused for no reason; but what was used is refused as such, whatever else."""
        self._refuse_used(quote_id, _read(header)[0])
        raise CallRefusedError("No.", code="budget_exceeded")

    def receipt_of(self, goal_id: str, since: float) -> Placement | None:
        """The newest receipt that carries a `goalId`, once it shows."""
        now = self.clock.time()
        found = [
            request_id
            for paid_at, goal, request_id in self._receipts
            if goal == goal_id and since <= paid_at and paid_at + self.receipt_delay <= now
        ]
        return Placement(found[-1]) if found else None

    def end_of(self, request_id: str) -> float:
        """When a call ends."""
        return self._ends[request_id]

    def times_paid(self) -> Counter[str]:
        """Payments by call key."""
        return Counter(self.payments)

    def _refuse_used(self, quote_id: str, nonce: str) -> None:
        forgotten = self.forgetful and self._quotes[quote_id] <= self.clock.time()
        if {quote_id, nonce} & self._used and not forgotten:
            raise PlacementUnansweredError("HTTP 409: used already", used=True)

    def _place(self, body: Mapping[str, Any], now: float) -> Placement:
        goal_id, number = body["decisionContext"]["goalId"], body["target_number"]
        request_id = f"req_{len(self.payments)}"
        self.payments.append(self.key_of(goal_id))
        busy = any(n == number and now < t + _CALL_SECONDS for n, t in self.rings)
        self.overlaps += [number] if busy else []
        self.rings.append((number, now))
        self._ends[request_id] = now + _CALL_SECONDS
        self._receipts.append((now, goal_id, request_id))
        return Placement(request_id)


def _read(header: str | None) -> tuple[str, float, float]:
    """A signed payment's nonce, and between which moments it is valid."""
    if header is None:
        return "", float("-inf"), float("inf")
    signed = json.loads(base64.b64decode(header))["payload"]["authorization"]
    return signed["nonce"], float(signed["validAfter"]), float(signed["validBefore"])
