"""Faults: the ways in which a network or a service can let its caller down, on order.

A fault is for one leg and is used up in the order of injection. To *act* means to do what was
asked (to quote, to take the money and ring the phone, ...); what fails is then only the answer.
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
"""A route, or a half of one.

`connection`: any new connection, before it is known what for. `quote`, `paid`: the call route
without and with a quote id or a payment. `poll`: a call's status. `socket`: the push. `me`: the
account of a credential. The others are the routes of their names.
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
"""What goes wrong.

`refuse`: the connection is reset before the request's body is read; on `socket`, the handshake is
answered with `status`. `reset_before`, `reset_after`: a TCP reset without or after acting.
`drop_reply`: acts, then closes without a byte of an answer. `truncate`: acts, then closes halfway
through the answer. `hang_before`, `hang_after`: no answer ever, without or after acting.
`status_*`: that answer instead. `html_200`: a web page. `garbage`: an answer that is not JSON. Only
for `socket`: `silent` accepts and never says a word, `close` closes after the first subscription.
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
"""A function of an answer's status, headers (lowercase names) and JSON body, to the one to send."""


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at a leg, `times` times.

    Attributes:
        leg: where.
        kind: what.
        times: how often.
        acts: whether the request is acted on first. Each kind has its own nature; only `status_*`,
            `html_200` and `garbage` leave the choice, and do not act unless told to.
        retry_after: the `Retry-After` of a `status_429`, in seconds; None for no such header.
        status: what a refused `socket` is answered with.
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
        """Whether the request is acted on, by the nature of the kind or by choice."""
        return self.acts or self.kind in _ACTING


class FaultBox:
    """The faults that are still to come, and the hooks that alter answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: defaultdict[str, deque[list[Any]]] = defaultdict(deque)
        self._tampers: dict[str, Tamper] = {}

    def inject(self, fault: Fault) -> None:
        """Put a fault behind those already coming at its leg."""
        with self._lock:
            self._coming[fault.leg].append([fault, fault.times])

    def take(self, leg: str) -> Fault | None:
        """Use up the next fault of a leg; None when nothing is to go wrong."""
        with self._lock:
            coming = self._coming.get(leg)
            if not coming:
                return None
            fault: Fault = coming[0][0]
            coming[0][1] -= 1
            if coming[0][1] <= 0:
                coming.popleft()
            return fault

    def tamper(self, leg: Leg, function: Tamper | None) -> None:
        """Pass every answer of a leg through a function; None ends it."""
        with self._lock:
            if function is None:
                self._tampers.pop(leg, None)
            else:
                self._tampers[leg] = function

    def tamper_of(self, leg: str) -> Tamper | None:
        """The function that a leg's answers pass through."""
        return self._tampers.get(leg)

    def clear(self) -> None:
        """Let everything go right again."""
        with self._lock:
            self._coming.clear()
            self._tampers.clear()
