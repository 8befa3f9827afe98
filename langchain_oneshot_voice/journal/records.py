"""The values that the journal stores and returns, and its errors. No I/O.

`schema.py` creates the columns of two tables from the fields of `CallRecord` and `AskedQuestion`.

No text or repr shows a whole phone number, the request, a payment or a transcript.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, Literal

from langchain_oneshot_voice.call_states import CallState
from langchain_oneshot_voice.schemas import mask_number

ClaimKind = Literal["mine", "held", "finished", "duplicate", "number_busy"]
"""The decision on a claim.

- `mine`: the call belongs to the run that claimed it.
- `held`: another live worker has it.
- `finished`: it has ended.
- `duplicate`: an equal call with another key is in progress, unknown or just answered. The record
  is that call's.
- `number_busy`: another call of the account may be on one of the numbers. The record is that
  call's.
"""

_HIDDEN = frozenset({"request", "payment", "job", "offer", "placement"})


class _SafeRepr:
    """A repr that is safe to log: numbers are masked, and speech and signatures left out."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]  # every subclass is a dataclass
        shown["numbers"] = tuple(map(mask_number, shown["numbers"]))
        parts = (f"{name}={value!r}" for name, value in shown.items() if name not in _HIDDEN)
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NewCall(_SafeRepr):
    """A call to claim.

    Attributes:
        call_key: the identity of the intended call.
        account: the wallet address that pays.
        tenant: the tenant that the call belongs to, if several share a wallet.
        base_url: the URL of the service.
        numbers: every number to call, in E.164.
        fingerprint: equal for calls with the same objective and numbers.
        request: the body as it is sent.
    """

    call_key: str
    account: str
    tenant: str = ""
    base_url: str
    numbers: tuple[str, ...]
    fingerprint: str
    request: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CallRecord(_SafeRepr):
    """The record of one call. Times are epoch seconds of the journal's clock.

    Attributes:
        call_key: the identity of the intended call.
        state: the state of the call.
        account: the wallet address that pays.
        tenant: the tenant that the call belongs to; empty if there is only one.
        base_url: the URL of the service.
        numbers: every number that it calls, in E.164; empty after forgetting.
        fingerprint: equal for calls with the same objective and numbers.
        request: the body as it is sent; empty after forgetting.
        attempt: 1, plus one for each time that a refused call was claimed again.
        offer: the service's 402 answer as received: `{"body": ..., "header": ...}`.
        approval_id: the approval at the provider that the account's rules require.
        payment: the exact bytes of the payment header; `None` if nothing was signed.
        valid_before: when the signed authorization ends.
        reserved: US dollars that count against the daily limit for this call.
        charged: US dollars that it cost; `None` if unknown.
        number_fee: US dollars of the price that pay, once, for the number the wallet calls from.
        request_id: the id of the call at the service.
        placement: the service's answer when it accepted the call.
        job: the service's last answer about the call; `None` after forgetting.
        answered: whether a person or a machine picked up.
        opt_out: the words with which a person on the call opted out; `None` again when the numbers
            are on the do-not-call list.
        error_code: why it was refused or is unknown.
        edited_to: the key of the call that replaced this one when a person edited it.
        owner: the run that holds it.
        worker: the worker of that run.
        created_at: when it was first claimed.
        signed_at: when the payment was stored, which is before it is sent.
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
    """A question that asks a person to approve one call at one price.

    Attributes:
        question_id: its id, in the interrupt and in the answer.
        call_key: the key of the call.
        number: its index among the questions of the call.
        thread: the thread of the graph that asked it.
        namespace: the checkpoint namespace that asked it.
        request: the body that will be sent if the person approves.
        offer: the service's 402 answer as received.
        price: the quoted total that was shown, in US dollars.
        bare_ok: whether an answer without a question id may answer it.
        note: what to show the person when it is asked again.
        answer: the person's answer; `None` while it is open.
        asked_at: when it was recorded; set by the journal.
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
    """The limits that are checked when a call is signed.

    Attributes:
        max_cost_per_day: US dollars in any 24 hours, per account and tenant; `None` for no limit.
        max_calls_per_number_per_day: calls to one number in any 24 hours, per account and tenant;
            `None` for no limit.
        duplicate_window: seconds for which an answered call answers the same call again; 0 turns
            the guard off.
        one_number_fee: whether to refuse a second payment of the fee for the wallet's number.
    """

    max_cost_per_day: Decimal | None
    max_calls_per_number_per_day: int | None
    duplicate_window: float
    one_number_fee: bool = True


@dataclass(frozen=True, slots=True)
class Suppression:
    """A number on the do-not-call list.

    Attributes:
        number: in E.164.
        reason: why it is listed, such as the words of the person.
        since: when it was listed, in epoch seconds.
    """

    number: str = field(repr=False)
    reason: str
    since: float


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.

    Attributes:
        kind: the decision.
        record: the call that the decision is about.
        now: the journal's time of the decision, in epoch seconds.
    """

    kind: ClaimKind
    record: CallRecord
    now: float


@dataclass(frozen=True, slots=True)
class DuplicateCall:
    """An equal call with another key is in progress or was just answered."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class NumberBusy:
    """Another call of the account may be on one of the numbers now."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class NumberFeePaid:
    """Another call has just paid the fee for the wallet's number, or its payment is in flight.

    Attributes:
        settled: whether the service accepted that call; if not, its payment is in flight.
    """

    settled: bool


@dataclass(frozen=True, slots=True)
class SpendLimitReached:
    """The call costs more than the rest of the daily limit.

    Attributes:
        limit: the name of the limit.
        cap: the limit, in US dollars.
        spent: US dollars spent or reserved in the window.
        amount: the price of this call, in US dollars.
        resets_at: when the call fits, in epoch seconds; `None` if it costs more than the limit.
    """

    limit: str
    cap: Decimal
    spent: Decimal
    amount: Decimal
    resets_at: float | None


@dataclass(frozen=True, slots=True)
class NumberLimitReached:
    """The number has reached its limit of calls in 24 hours.

    Attributes:
        number: the number, in E.164.
        cap: the limit, in calls.
        resets_at: when it may be called again, in epoch seconds; `None` if the limit is zero.
    """

    number: str = field(repr=False)
    cap: int
    resets_at: float | None


@dataclass(frozen=True, slots=True)
class NumberSuppressed:
    """One or more of the numbers are on the do-not-call list.

    Attributes:
        numbers: the numbers of the call that are listed, in E.164.
    """

    numbers: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Paused:
    """The stop switch is on: all calls are stopped.

    Attributes:
        reason: why, in the words of the person who stopped them.
        by: the name of that person.
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
"""The reason why a call may not be signed now. Nothing was written."""


class JournalError(Exception):
    """The base class of the journal's errors."""


class JournalUnavailableError(JournalError):
    """The journal's database can't be reached, opened or written.

    The operation was not recorded, unless `maybe_recorded` is true.

    Attributes:
        maybe_recorded: whether the operation may be recorded, because only the database's answer
            was lost. If it is, the next run finds the row and continues from there.
    """

    maybe_recorded = False


class IllegalMoveError(JournalError):
    """The step is not legal in the state of the call; nothing was written."""

    def __init__(self, call_key: str, state: CallState, move: str) -> None:
        self.call_key = call_key
        self.state = state
        super().__init__(f"call {call_key} is {state}: it can't become {move}")
