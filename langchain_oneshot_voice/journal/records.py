"""What the journal holds and what it answers: plain values, no I/O.

A `CallRecord` is one intended call as it is known on disk. A `Claim` is the answer to "may I work
on this call". The errors are the journal's ways of saying no; none of them changes anything.

    JournalError
    ├── JournalUnavailableError   the database can't be reached, opened or written
    ├── LeaseLost                 another worker has taken the call over
    ├── IllegalMoveError          a step that the call's state does not allow
    └── JournalRefusal            signing now would break a limit
        ├── DuplicateCall         the same call is under way, or was just answered
        ├── NumberBusy            one of the numbers is on a call of ours
        ├── SpendLimitReached     the day's money is spent
        ├── NumberLimitReached    the number was called often enough today
        └── NumberSuppressed      somebody there does not want to be called

No text here, and no repr, shows a whole phone number, the request, a payment or a transcript.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

CallState = Literal["claimed", "quoted", "signed", "placed", "done", "refused", "unknown"]
"""How far a call has come.

`claimed`: someone works on it, nothing is agreed. `quoted`: the price is known. `signed`: the exact
signed bytes are stored and may be on the wire. `placed`: the service accepted it under a request
id. `done`: the outcome is stored. `refused`: nothing was or can be charged, and the call may be
claimed again. `unknown`: the paid leg went unanswered; its reservation stays.
"""

ClaimKind = Literal["mine", "held", "finished", "duplicate", "number_busy"]
"""`mine`: the lease is yours. `held`: another worker's lease is alive. `finished`: the record has
the outcome. `duplicate`: another key is, or just was, the same call. `number_busy`: another call of
ours is on one of the numbers. For the last two the record is that other call's.
"""

_HIDDEN = frozenset({"request", "payment", "job", "quote"})


def mask(number: str) -> str:
    """Show of a phone number only as much as tells two of them apart."""
    return f"{number[:2]}…{number[-2:]}" if len(number) > 6 else "…"  # noqa: PLR2004 - shorter ones would show whole


class _Discreet:
    """A repr that can be logged: numbers masked, what was said and signed left out."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # every subclass is a dataclass
        shown["numbers"] = tuple(mask(number) for number in shown["numbers"])
        parts = (f"{name}={value!r}" for name, value in shown.items() if name not in _HIDDEN)
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewCall(_Discreet):
    """A call that someone wants to make.

    Attributes:
        call_key: the identity of the intended call.
        account: the wallet address that pays.
        tenant: whose call it is, where one wallet serves several.
        base_url: the service it goes to.
        numbers: every number it would ring, in E.164.
        fingerprint: equal for calls that are the same in substance.
        request: the body as it goes on the wire.
    """

    call_key: str
    account: str
    tenant: str = ""
    base_url: str
    numbers: tuple[str, ...]
    fingerprint: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CallRecord(_Discreet):
    """One call as the journal knows it. Times are epoch seconds of the journal's clock.

    Attributes:
        call_key: the identity of the intended call.
        state: how far it has come.
        account: the wallet address that pays.
        tenant: whose call it is; empty where that does not matter.
        base_url: the service it goes to.
        numbers: every number it rings, in E.164; empty once forgotten.
        fingerprint: equal for calls that are the same in substance.
        request: the body as it goes on the wire; empty once forgotten.
        attempt: 1, and one more each time a refused call is claimed again.
        quote: the service's quote.
        quote_id: the service's id of the quote.
        quote_expires_at: when the quote ends.
        payment: the exact bytes of the payment header; `None` when nothing was signed.
        valid_before: when the signed authorization ends.
        reserved: US dollars held for it against the day's limit.
        charged: US dollars that it cost, where that is known.
        request_id: the service's id of the call.
        receipt_id: the service's id of the receipt.
        job: the service's last word on the call; `None` once forgotten.
        answered: whether someone or something picked up.
        error_code: why it was refused or is unknown.
        lease_owner: who works on it.
        lease_until: until when that worker has it to itself.
        created_at: when it was first claimed.
        signed_at: when the payment was stored, before it was sent.
        placed_at: when the acceptance was stored.
        updated_at: when it last changed state.
    """

    call_key: str
    state: CallState
    account: str
    tenant: str
    base_url: str
    numbers: tuple[str, ...]
    fingerprint: str
    request: dict[str, Any]
    attempt: int
    quote: dict[str, Any] | None
    quote_id: str | None
    quote_expires_at: float | None
    payment: str | None
    valid_before: float | None
    reserved: Decimal
    charged: Decimal | None
    request_id: str | None
    receipt_id: str | None
    job: dict[str, Any] | None
    answered: bool | None
    error_code: str | None
    lease_owner: str | None
    lease_until: float | None
    created_at: float
    signed_at: float | None
    placed_at: float | None
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimits:
    """What may not be passed at the moment of signing.

    Attributes:
        max_cost_per_day: US dollars in any 24 hours, per account and tenant; `None` for no limit.
        max_calls_per_number_per_day: in any 24 hours, likewise; `None` for no limit.
        duplicate_window: seconds for which an answered call answers the same call again; 0 turns
            the guard off.
    """

    max_cost_per_day: Decimal | None
    max_calls_per_number_per_day: int | None
    duplicate_window: float


@dataclass(frozen=True, slots=True)
class Suppression:
    """A number that is not to be called.

    Attributes:
        number: in E.164.
        reason: who said so, or in which words.
        since: when it was listed, in epoch seconds.
    """

    number: str = field(repr=False)
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim, and the record that it is about."""

    kind: ClaimKind
    record: CallRecord


class JournalError(Exception):
    """Anything that the journal says no with."""


class JournalUnavailableError(JournalError):
    """The journal's database can't be reached, opened or written.

    What was being recorded is not known to be recorded: don't act as if it were. Should the last
    answer of the database be what got lost, the next run finds the row and goes on from there.
    """


class LeaseLost(JournalError):  # noqa: N818 - the state of things, read as such where it is caught
    """The lease is not, or no longer, the caller's; nothing was written."""

    def __init__(self, call_key: str, owner: str) -> None:
        self.call_key = call_key
        self.owner = owner
        super().__init__(f"{owner} does not hold the lease of call {call_key}")


class IllegalMoveError(JournalError):
    """A step that the state of the call does not allow; nothing was written."""

    def __init__(self, call_key: str, state: CallState, move: str) -> None:
        self.call_key = call_key
        self.state = state
        super().__init__(f"call {call_key} is {state}: it can't become {move}")


class JournalRefusal(JournalError):  # noqa: N818 - an answer rather than a fault
    """Signing now would break a limit; nothing was written and nothing may be signed."""


class DuplicateCall(JournalRefusal):
    """Another key is under way with, or has just answered, the same call."""

    def __init__(self, record: CallRecord) -> None:
        self.record = record
        super().__init__(f"call {record.call_key} is the same call, and is {record.state}")


class NumberBusy(JournalRefusal):
    """Another call of ours may be on one of the numbers at this moment."""

    def __init__(self, record: CallRecord) -> None:
        self.record = record
        super().__init__(f"call {record.call_key} is on the same number, and is {record.state}")


class SpendLimitReached(JournalRefusal):
    """The call would cost more than is left of the limit.

    Attributes:
        limit: the name of the limit.
        cap: US dollars that may be spent.
        spent: US dollars spent or reserved in the window.
        amount: US dollars that this call would add.
        resets_at: when there is room for it; `None` when it is dearer than the whole limit.
    """

    def __init__(
        self, limit: str, cap: Decimal, spent: Decimal, amount: Decimal, resets_at: float | None
    ) -> None:
        self.limit = limit
        self.cap = cap
        self.spent = spent
        self.amount = amount
        self.resets_at = resets_at
        super().__init__(
            f"{limit} is ${cap}: ${spent} is spent or reserved, this call is ${amount}"
        )


class NumberLimitReached(JournalRefusal):
    """The number has been called as often as a day allows.

    Attributes:
        number: the number, in E.164.
        cap: calls that a day allows.
        resets_at: when it may be called again; `None` when the limit is zero.
    """

    def __init__(self, number: str, cap: int, resets_at: float | None) -> None:
        self.number = number
        self.cap = cap
        self.resets_at = resets_at
        super().__init__(f"{mask(number)} may be called {cap} times a day, and was")


class NumberSuppressed(JournalRefusal):
    """Somebody at one of the numbers has asked not to be called.

    Attributes:
        numbers: those of the call's that are listed, in E.164.
    """

    def __init__(self, numbers: tuple[str, ...]) -> None:
        self.numbers = numbers
        super().__init__(f"{', '.join(map(mask, numbers))}: listed as not to be called")
