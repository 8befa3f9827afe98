"""What the sandbox remembers and shows to a test: payments, rings, calls and HTTP exchanges.

All of it is frozen: a record handed out is what was so at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Funds = Literal["usdc", "credits"]
"""What a payment was made with: `usdc` on the chain, or the account's prepaid `credits`."""


@dataclass(frozen=True)
class Payment:
    """Money that moved. A call paid partly from credits leaves one record of each kind."""

    payer: str
    payee: str
    amount: Decimal
    nonce: str | None
    request_id: str
    kind: Funds


@dataclass(frozen=True)
class Ring:
    """A phone that rang."""

    number: str
    request_id: str


@dataclass(frozen=True)
class Call:
    """A call that was paid for, as it stands."""

    request_id: str
    wallet: str
    body: Mapping[str, Any] = field(repr=False)
    price: Decimal
    status: str
    result: Mapping[str, Any] | None = field(repr=False)


@dataclass(frozen=True)
class Exchange:
    """One HTTP request (or WebSocket handshake) and how it was answered.

    Attributes:
        leg: which route, such as `quote`, `paid`, `poll` or `socket`.
        headers: by lowercase name. Kept whole, so that a test can decode proofs and payments, and
            out of the repr, because some of them are secrets.
        body: the decoded JSON, or the text where it was not JSON; None without a body.
        status: the status that was answered; None when none was (yet).
        fault: the kind of the fault that was applied.
    """

    leg: str
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(default=None, repr=False)
    status: int | None = None
    fault: str | None = None
