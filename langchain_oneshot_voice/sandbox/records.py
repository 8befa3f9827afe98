"""Records for tests: payments, rings, calls and HTTP exchanges.

All records are frozen: each one shows the state at the moment when it was returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Funds = Literal["usdc", "credits"]
"""The means of a payment: `usdc` on the chain, or the prepaid `credits` of the account."""


@dataclass(frozen=True)
class Payment:
    """A payment. A call that is paid with credits and USDC has one record of each kind."""

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
    """A paid call and its current state."""

    request_id: str
    wallet: str
    body: Mapping[str, Any] = field(repr=False)
    price: Decimal
    status: str
    result: Mapping[str, Any] | None = field(repr=False)


@dataclass(frozen=True)
class Exchange:
    """One HTTP request or WebSocket handshake, and the status of its answer.

    Attributes:
        leg: the route, such as `quote`, `paid`, `poll` or `socket`.
        headers: the headers by lowercase name. All are kept, so that a test can decode proofs and
            payments. The repr leaves them out, because some are secret.
        body: the decoded JSON, or the text if it was not JSON; None without a body.
        status: the status of the answer; None if there is none yet.
        fault: the kind of the injected fault, if any.
    """

    leg: str
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: Any = field(default=None, repr=False)
    status: int | None = None
    fault: str | None = None
