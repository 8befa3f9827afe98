"""Faults: failures of the network or the service that a test injects.

A fault belongs to one leg. The faults of a leg happen in the order of injection. To *act* means
that the service carries out the request (quotes the call, takes the money, rings the phone), so
that only its answer fails.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Leg = Literal[
    "connection",
    "quote",
    "paid",
    "poll",
    "socket",
    "balance",
    "receipts",
    "budgets",
    "me",
    "approval",
    "numbers",
    "unknown",
]
"""A route, or one half of the call route.

`connection`: any new connection, before its first request. `quote`, `paid`: the call route without
and with a quote id or a payment. `poll`: the status of a call. `socket`: the WebSocket. `me`: the
account of a credential. The others are named like their routes.
"""

Kind = Literal[
    "refuse",
    "reset_before",
    "reset_after",
    "drop_reply",
    "truncate",
    "hang_before",
    "hang_after",
    "status_500",
    "status_502_html",
    "status_503",
    "status_429",
    "status_404",
    "status_409",
    "html_200",
    "garbage",
    "silent",
    "close",
]
"""What happens.

`refuse`: the connection is reset before the request's body is read; on `socket`, the handshake is
answered with `status`. `reset_before`, `reset_after`: a TCP reset without or after acting.
`drop_reply`: acts, then closes without a byte of an answer. `truncate`: acts, then closes halfway
through the answer. `hang_before`, `hang_after`: never answers, without or after acting. `status_*`:
answers with that status. `html_200`: answers with a web page. `garbage`: answers with invalid JSON.
Only for `socket`: `silent` accepts and sends nothing, `close` closes after the first subscription.
"""

_ACTING: Final = frozenset({"reset_after", "drop_reply", "truncate", "hang_after"})
_MAY_ACT: Final = frozenset(
    kind for kind in get_args(Kind) if kind.startswith(("status_", "html_", "garbage"))
)
_ON_SOCKETS: Final = frozenset(
    {"refuse", "reset_before", "reset_after", "garbage", "silent", "close"}
)
_ONLY_ON_SOCKETS: Final = frozenset({"silent", "close"})

Tamper = Callable[
    [int, dict[str, str], dict[str, Any] | None],
    tuple[int, Mapping[str, str], Mapping[str, Any] | None],
]
"""Takes the status, headers (lowercase names) and JSON body of an answer, and returns new ones."""


@dataclass(frozen=True)
class Fault:
    """A failure at a leg.

    Attributes:
        leg: where it happens.
        kind: what happens.
        times: how many times it happens.
        acts: True if the service acts first. This is a choice only for `status_*`, `html_200` and
            `garbage`; the other kinds always or never act.
        retry_after: the `Retry-After` of a `status_429`, in seconds; None for no such header.
        status: the HTTP status of a refused `socket`.
    """

    leg: Leg
    kind: Kind
    times: int = 1
    acts: bool = False
    retry_after: int | None = None
    status: int = 503

    def __post_init__(self) -> None:
        if self.acts and self.kind not in _ACTING | _MAY_ACT:
            raise ValueError(f"{self.kind} cannot act")
        if self.leg == "connection" and self.kind != "refuse":
            raise ValueError("a connection can only be refused")
        if self.leg == "socket" and self.kind not in _ON_SOCKETS:
            raise ValueError(f"{self.kind} is not for the socket")
        if self.leg != "socket" and self.kind in _ONLY_ON_SOCKETS:
            raise ValueError(f"{self.kind} is only for the socket")

    @property
    def acting(self) -> bool:
        """True if the service acts, because of the kind or by choice."""
        return self.acts or self.kind in _ACTING


class FaultBox:
    """The pending faults, and the functions that alter answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Each item is a fault and the number of times that are left.
        self._pending: defaultdict[str, deque[list[Any]]] = defaultdict(deque)
        self._tampers: dict[str, Tamper] = {}

    def inject(self, fault: Fault) -> None:
        """Append a fault to those of its leg."""
        with self._lock:
            self._pending[fault.leg].append([fault, fault.times])

    def take(self, leg: str) -> Fault | None:
        """Return and use up the next fault of a leg; None if there is none."""
        with self._lock:
            pending = self._pending.get(leg)
            if not pending:
                return None
            fault: Fault = pending[0][0]
            pending[0][1] -= 1
            if pending[0][1] <= 0:
                pending.popleft()
            return fault

    def tamper(self, leg: Leg, function: Tamper | None) -> None:
        """Alter every answer of a leg with a function; None stops it."""
        with self._lock:
            if function is None:
                self._tampers.pop(leg, None)
            else:
                self._tampers[leg] = function

    def tamper_of(self, leg: str) -> Tamper | None:
        """Return the function that alters the answers of a leg, if there is one."""
        return self._tampers.get(leg)

    def clear(self) -> None:
        """Remove all faults and functions."""
        with self._lock:
            self._pending.clear()
            self._tampers.clear()
