"""The values that the journal holds and returns, and its errors. No I/O.

`CallRecord` and `AskedQuestion` list the columns of their tables: `schema.py` makes the tables from
the types of their fields.

No text here, and no repr, shows a whole phone number, the request, a payment or a transcript.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

from langchain_oneshot_voice.call_states import CallState

ClaimKind = Literal["mine", "held", "finished", "duplicate", "number_busy"]
"""`mine`: the call is yours. `held`: another live worker has it. `finished`: it has ended.
`duplicate`: another key is, or just was, the same call. `number_busy`: another call of ours is on
one of the numbers. For the last two the record is that other call's.
"""

_HIDDEN = frozenset({"request", "payment", "job", "offer", "placement"})


def mask(number: str) -> str:
    """Show of a phone number only as much as tells two of them apart."""
    return f"{number[:2]}…{number[-2:]}" if len(number) > 6 else "…"  # noqa: PLR2004 - shorter ones would show whole


class _Discreet:
    """A repr that can be logged: numbers masked, without what was said and signed."""

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
        state: how far it is.
        account: the wallet address that pays.
        tenant: whose call it is; empty where that does not matter.
        base_url: the service it goes to.
        numbers: every number it rings, in E.164; empty once forgotten.
        fingerprint: equal for calls that are the same in substance.
        request: the body as it goes on the wire; empty once forgotten.
        attempt: 1, and one more each time a refused call is claimed again.
        offer: the service's 402 answer as received: `{"body": ..., "header": ...}`.
        approval_id: the approval at the provider that the account's rules asked for.
        payment: the exact bytes of the payment header; `None` when nothing was signed.
        valid_before: when the signed authorization ends.
        reserved: US dollars held for it against the day's limit.
        charged: US dollars that it cost, where that is known.
        number_fee: what of the price is for the number that a wallet calls from, once.
        request_id: the service's id of the call.
        placement: what the service answered when it accepted the call.
        job: the service's last answer about the call; `None` once forgotten.
        answered: whether someone or something picked up.
        opt_out: the words in which somebody asked on the phone not to be called again, until the
            call's numbers are on the list.
        error_code: why it was refused or is unknown.
        edited_to: the key of the call that a person made of this one.
        owner: the run that has it.
        worker: the process of that run.
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
    offer: dict[str, Any] | None
    approval_id: str | None
    payment: str | None
    valid_before: float | None
    reserved: Decimal
    charged: Decimal | None
    number_fee: Decimal | None
    request_id: str | None
    placement: dict[str, Any] | None
    job: dict[str, Any] | None
    answered: bool | None
    opt_out: str | None
    error_code: str | None
    edited_to: str | None
    owner: str | None
    worker: str | None
    created_at: float
    signed_at: float | None
    placed_at: float | None
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedQuestion:
    """A question to a person about one call at one price.

    Attributes:
        question_id: its id, in the interrupt and in the answer.
        call_key: the call it is about.
        number: its place among the questions of the call.
        thread: the graph's thread that it was asked in.
        namespace: the checkpoint namespace that it was asked in.
        request: the body that would be sent.
        offer: the service's 402 answer as received.
        price: the quoted total that was shown, in US dollars.
        bare_ok: whether an answer without an id may be meant for it.
        note: what to tell the person when it is asked again.
        answer: the person's answer; `None` while it is open.
        asked_at: when it was recorded; the journal fills it in.
        answered_at: when the answer was recorded.
    """

    question_id: str
    call_key: str
    number: int
    thread: str
    namespace: str
    request: dict[str, Any] = field(repr=False)
    offer: dict[str, Any] = field(repr=False)
    price: Decimal
    bare_ok: bool = False
    note: str | None = field(default=None, repr=False)
    answer: dict[str, Any] | None = field(default=None, repr=False)
    asked_at: float = 0
    answered_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimits:
    """The limits that hold at the moment of signing.

    Attributes:
        max_cost_per_day: US dollars in any 24 hours, per account and tenant; `None` for no limit.
        max_calls_per_number_per_day: in any 24 hours, likewise; `None` for no limit.
        duplicate_window: seconds for which an answered call answers the same call again; 0 turns
            the guard off.
        one_number_fee: whether a fee for the wallet's number may not be paid when another call has
            just paid it.
    """

    max_cost_per_day: Decimal | None
    max_calls_per_number_per_day: int | None
    duplicate_window: float
    one_number_fee: bool = True


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
    """The answer to a claim.

    Attributes:
        kind: what the claim came to.
        record: the call that it is about.
        now: the journal's time of the answer, in epoch seconds.
    """

    kind: ClaimKind
    record: CallRecord
    now: float


@dataclass(frozen=True, slots=True)
class DuplicateCall:
    """Another key is under way with, or has just answered, the same call."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class NumberBusy:
    """Another call of ours may be on one of the numbers at this moment."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class NumberFeePaid:
    """Another call has just paid for the wallet's number, or is about to.

    Attributes:
        settled: whether that call was accepted; else it is on its way.
    """

    settled: bool


@dataclass(frozen=True, slots=True)
class SpendLimitReached:
    """The call would cost more than is left of the limit.

    Attributes:
        limit: the name of the limit.
        cap: US dollars that may be spent.
        spent: US dollars spent or reserved in the window.
        amount: US dollars that this call would add.
        resets_at: when there is room for it; `None` when it is dearer than the whole limit.
    """

    limit: str
    cap: Decimal
    spent: Decimal
    amount: Decimal
    resets_at: float | None


@dataclass(frozen=True, slots=True)
class NumberLimitReached:
    """The number has been called as often as a day allows.

    Attributes:
        number: the number, in E.164.
        cap: calls that a day allows.
        resets_at: when it may be called again; `None` when the limit is zero.
    """

    number: str = field(repr=False)
    cap: int
    resets_at: float | None


@dataclass(frozen=True, slots=True)
class NumberSuppressed:
    """Somebody at one of the numbers has asked not to be called.

    Attributes:
        numbers: those of the call's that are listed, in E.164.
    """

    numbers: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Paused:
    """Somebody has stopped all calls.

    Attributes:
        reason: why, in their words.
        by: who they are.
        since: when, in epoch seconds.
    """

    reason: str
    by: str
    since: float


Guard = (
    Paused
    | DuplicateCall
    | NumberBusy
    | NumberFeePaid
    | SpendLimitReached
    | NumberLimitReached
    | NumberSuppressed
)
"""Why a call may not be signed now. Nothing was written."""


class JournalError(Exception):
    """An error of the journal."""


class JournalUnavailableError(JournalError):
    """The journal's database can't be reached, opened or written.

    The operation was not recorded, as far as anybody knows.

    Attributes:
        maybe_recorded: whether it may be on record all the same, since only the database's answer
            was lost. The next run finds the row and continues from there.
    """

    maybe_recorded = False


class IllegalMoveError(JournalError):
    """The state of the call does not allow the step; nothing was written."""

    def __init__(self, call_key: str, state: CallState, move: str) -> None:
        self.call_key = call_key
        self.state = state
        super().__init__(f"call {call_key} is {state}: it can't become {move}")
