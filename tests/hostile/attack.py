"""An attack: what a service does on one leg of a call, and how the call may end then."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hostile.caller_process import Outcome
    from hostile.service import HostileService, Peer

Leg = Literal["quote", "paid", "poll", "receipts", "socket"]
"""The price, the paid request, the look-up, the list of receipts, the handshake of the socket."""

End = Literal["completed", "failed", "in_progress", "refused", "unpaid", "unknown"]
"""How a call ended for its caller.

- `completed`, `failed`, `in_progress`: a result with this status.
- `refused`: an error that says that nothing was charged; no payment ever reached the service.
- `unpaid`: an error that says that nothing was charged, after the service refused the payment.
- `unknown`: an error that says that money may have moved.
"""

_USUAL_ENDS: Mapping[Leg, frozenset[End]] = {
    "quote": frozenset({"refused"}),
    "paid": frozenset({"unknown"}),
    "poll": frozenset({"completed"}),
    "receipts": frozenset({"unknown"}),
    "socket": frozenset({"completed"}),
}
"""What can't be read is a refusal before payment, no verdict while waiting, `unknown` after it."""

_USUAL_TIMES: Mapping[Leg, int | None] = {
    "quote": None,
    "paid": None,
    "poll": 2,
    "receipts": None,
    "socket": None,
}
"""How often an attack is repeated; then the service is honest, and the wait must end well."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, status: int, body: object, **headers: str) -> Reply:
        """A JSON answer. Underscores in the names of headers become hyphens."""
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return cls(status, json.dumps(body).encode(), named)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def with_body(self, body: bytes, **headers: str) -> Reply:
        """The same answer with another body, and more headers."""
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return replace(self, body=body, headers=self.headers + named)

    def head(self, *, length: int | None = None) -> bytes:
        """The status line and the headers; `length` is a content length that may be a lie."""
        length = len(self.body) if length is None else length
        lines = [
            f"HTTP/1.1 {self.status} Whatever",
            "content-type: application/json",
            f"content-length: {length}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogatepass")


Change = Callable[[Reply], Reply]
"""Makes the malicious answer from the honest one."""

Deed = Callable[["Peer", Reply], Awaitable[None]]
"""Does something to the connection instead of answering; afterwards it is closed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attack:
    """One attack.

    Attributes:
        name: the test's id.
        leg: where it happens.
        change: what is answered there.
        deed: what is done to the connection there, instead of an answer.
        at_accept: whether the deed is done before a request is read.
        down: seconds for which nothing listens when the leg is due.
        times: how often; `None` for always.
        loses_payment: whether the paid leg is cut too, so that receipts are looked at.
        receipts_tell: whether the receipts list a call that was paid for.
        unready: polls that find the call still going on. On the socket leg there are some, so that
            what the socket says comes first.
        ends: how the call may end.
        holds: what else must be true of the outcome.
        seen: what must be true of the service afterwards.
        policy: limits of the call, beside those that never hold a test up.
        calls: how many calls are placed, one after the other; the last one is judged.
        payments: how many payments may be presented at most; by default one for each call.
        max_wait: seconds to wait for an outcome.
        unanswered: legs on which no answer may begin, so that nobody should wait for it long; by
            default the leg of a deed.
        unended: whether an answer has no end, so that nobody should wait for it long either.
        seconds: within which the call must end.
    """

    name: str
    leg: Leg
    change: Change | None = None
    deed: Deed | None = None
    at_accept: bool = False
    down: float | None = None
    times: int | Literal["usual"] | None = "usual"
    loses_payment: bool = False
    receipts_tell: bool = False
    unready: int = 0
    ends: frozenset[End] = frozenset()
    holds: Callable[[Outcome], None] | None = None
    seen: Callable[[HostileService], None] | None = None
    policy: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 1
    payments: int = 0
    max_wait: float = 0.0
    unanswered: tuple[Leg, ...] | None = None
    unended: bool = False
    seconds: float = 20.0

    @property
    def harmless(self) -> bool:
        """Whether the service is honest, so that what goes wrong is the test's own fault."""
        return not self.change and not self.deed and self.down is None

    def __str__(self) -> str:
        return f"{self.leg}-{self.name}"

    def __post_init__(self) -> None:
        if self.times == "usual":
            object.__setattr__(self, "times", _USUAL_TIMES[self.leg])
        if not self.ends:
            ends = _USUAL_ENDS[self.leg]
            if self.receipts_tell and ends == {"unknown"}:
                ends = frozenset({"completed"})
            object.__setattr__(self, "ends", ends)
        if not self.payments:
            object.__setattr__(self, "payments", self.calls)
        if not self.max_wait:
            told = "unknown" not in self.ends and "in_progress" not in self.ends
            undecided = 0.7 if self.leg == "poll" else 0.3
            object.__setattr__(self, "max_wait", 15.0 if told else undecided)
        if self.leg == "socket" and not self.unready:
            object.__setattr__(self, "unready", 2)
        if self.leg == "receipts":
            object.__setattr__(self, "loses_payment", True)
        if self.unanswered is None:
            # Until the next leg is due, everything that follows is attacked before it is read.
            unread = self.at_accept and self.leg in {"paid", "receipts"}
            silent = ("paid", "receipts") if unread else (self.leg,)
            answers = self.unended or not self.deed
            object.__setattr__(self, "unanswered", () if answers else silent)


def ends(*words: End) -> frozenset[End]:
    """The ends that are allowed."""
    return frozenset(words)


def on_legs(legs: tuple[Leg, ...], name: str, **how: Any) -> list[Attack]:
    """The same attack on several legs."""
    return [Attack(name=name, leg=leg, **how) for leg in legs]


def body(text: bytes | str, **headers: str) -> Change:
    """Answer with the honest status and this body."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return lambda honest: honest.with_body(raw, **headers)


def says(status: int, body: object, **headers: str) -> Change:
    """Answer with this status and this JSON."""
    return lambda _: Reply.of(status, body, **headers)


def header(name: str, value: str) -> Change:
    """Answer honestly, with one more header."""
    return lambda honest: replace(honest, headers=(*honest.headers, (name, value)))


def field_is(path: str, value: object) -> Change:
    """Answer honestly but for one field, such as `result.cost`; parts of the path are made."""

    def change(honest: Reply) -> Reply:
        whole = honest.json()
        *way, last = path.split(".")
        part: Any = whole
        for name in way:
            part = part[int(name)] if isinstance(part, list) else part.setdefault(name, {})
        if isinstance(part, list):
            part[int(last)] = value
        else:
            part[last] = value
        return replace(honest, body=json.dumps(whole).encode())

    return change


def literal_is(path: str, literal: str) -> Change:
    """Like `field_is`, with JSON that `json.dumps` would not write, such as 5,000 digits."""
    mark = "@@literal@@"

    def change(honest: Reply) -> Reply:
        marked = field_is(path, mark)(honest)
        return replace(marked, body=marked.body.replace(f'"{mark}"'.encode(), literal.encode()))

    return change


def together(*changes: Change) -> Change:
    """One change after the other."""

    def change(honest: Reply) -> Reply:
        for one in changes:
            honest = one(honest)
        return honest

    return change
