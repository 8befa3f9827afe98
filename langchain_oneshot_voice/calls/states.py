"""The life of one call as pure functions: a state and an event give the next state.

Nothing here does I/O or reads a clock. Each state says in its docstring what may follow it; `AFTER`
holds the same as a table, from which the diagram in `docs/life-of-a-call.md` is drawn. The driver
carries out what a state asks for and turns what it sees into an event.

The states on record (`call_states.py`) are fewer: the record has what a restart needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import assert_never

from langchain_oneshot_voice.approval import Approve, Decision, Edit, Reject, Respond
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import AskedQuestion, CallRecord
from langchain_oneshot_voice.oneshot.answers import Job, Placement
from langchain_oneshot_voice.oneshot.client import Offer

MOST_OFFERS = 10
"""Prices asked for in one run, so that prices that never stand end."""

MOST_RELEASES = 3
"""Approvals at the provider for one call, so that a service that holds it each time ends."""

USED = "used"
"""The error code of a call whose payment or quote was used, and whose answer is not known."""


# States on the way


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call is this run's, and a price is wanted.

    Followed by `Quoted`, `Placed` (the service rings unpaid), `Held` or `Refused`.
    """

    approved: Decimal | None = None
    """The price in US dollars that a person said yes to before."""
    offers: int = 0
    """Prices asked for so far in this run."""


@dataclass(frozen=True, slots=True)
class Held:
    """The account's own rules hold the call until a person approves it at the provider.

    Followed by `Claimed` or `Refused`.
    """

    refusal: VoiceCallError
    then: Claimed


@dataclass(frozen=True, slots=True)
class Quoted:
    """A price is known.

    Followed by `Asking`, `Agreed` or `Refused`.
    """

    offer: Offer
    approved: Decimal | None = None
    offers: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """A person is asked about this offer.

    Followed by `Agreed`, `Declined`, `Edited`, `Paused` or `Refused`.
    """

    offer: Offer
    approved: Decimal | None = None
    offers: int = 0


@dataclass(frozen=True, slots=True)
class Agreed:
    """Everybody agreed to this offer.

    Followed by `Signed`, `Claimed` (the offer is over), `Duplicate` or `Refused`.
    """

    offer: Offer
    approved: Decimal | None = None
    offers: int = 0


@dataclass(frozen=True, slots=True)
class Signed:
    """The exact signed bytes are on record.

    `sent` is false until this run has sent them for the first time: only then is a refusal surely
    about them. A refusal of bytes that were sent before may only mean that they arrived.

    Followed by `Signed`, `Placed`, `Refused`, `StartOver` or `Unknown`.
    """

    sent: bool
    used: bool = False
    """The service said once that this payment or quote was used."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The service accepted the call; the phone rings.

    Followed by `Done` or `InProgress`.
    """


# Ends of a run


@dataclass(frozen=True, slots=True)
class Done:
    """The call has ended and has an outcome."""

    job: Job


@dataclass(frozen=True, slots=True)
class InProgress:
    """The wait is over before the call is."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A person said no, or answered in the call's place. It holds for every later run."""

    message: str | None
    question: AskedQuestion | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """A person asked for another call instead; that call has a key and a life of its own."""

    decision: Edit
    question: AskedQuestion


@dataclass(frozen=True, slots=True)
class Paused:
    """The graph has to be paused with this question."""

    question: AskedQuestion


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was or can be charged. The same key may be claimed again later."""

    error: VoiceCallError
    on_record: bool = True
    """False if the call stays as it is on record, so that a later run goes on from there."""


@dataclass(frozen=True, slots=True)
class StartOver:
    """Nothing was charged, and another price is worth asking for.

    Followed by `Claimed`, once the call is claimed again.
    """

    because: VoiceCallError


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can know what became of the payment."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Another key is, or just was, the same call."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class Lost:
    """The call is another worker's now. This run does nothing more to it."""


Live = Claimed | Held | Quoted | Asking | Agreed | Signed | Placed
End = (
    Done
    | InProgress
    | Declined
    | Edited
    | Paused
    | Refused
    | StartOver
    | Unknown
    | Duplicate
    | Lost
)
State = Live | End

AFTER: Mapping[type[Live], tuple[type[State], ...]] = {
    Claimed: (Quoted, Placed, Held, Refused),
    Held: (Claimed, Refused),
    Quoted: (Asking, Agreed, Refused),
    Asking: (Agreed, Declined, Edited, Paused, Refused),
    Agreed: (Signed, Claimed, Duplicate, Refused),
    Signed: (Signed, Placed, Refused, StartOver, Unknown),
    Placed: (Done, InProgress),
}
"""What may follow each state. `Lost` may follow every one of them."""


# Events: what a step saw


@dataclass(frozen=True, slots=True)
class Offered:
    """The service named a price."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service accepted the call."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody said no: the service, the account, the policy, a guard or the application."""

    error: VoiceCallError


@dataclass(frozen=True, slots=True)
class Released:
    """The account's person approved the call."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The account's person has not answered in time."""

    error: VoiceCallError


@dataclass(frozen=True, slots=True)
class Allowed:
    """The policy and the application allow the call at this price."""

    ask: bool
    """Whether a person has to be asked."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A person answered the question."""

    question: AskedQuestion
    decision: Decision


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The question is on record and waits for the person behind the graph."""

    question: AskedQuestion


@dataclass(frozen=True, slots=True)
class OnRecord:
    """The signed bytes are stored."""


@dataclass(frozen=True, slots=True)
class OfferOver:
    """The offer can't be paid any more."""


@dataclass(frozen=True, slots=True)
class SameCall:
    """Another key is, or just was, the same call."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer that says anything about the payment."""

    used: bool = False
    """The service says that this payment or quote was used: an attempt went through."""


@dataclass(frozen=True, slots=True)
class PaymentRefused:
    """The service refused the payment.

    Attributes:
        error: the refusal.
        stale: another quote may be taken where this one was not.
        proven: the authorization has expired, and a complete list of receipts has no trace of it.
        again: this run may start over.
    """

    error: VoiceCallError
    stale: bool
    proven: bool
    again: bool


@dataclass(frozen=True, slots=True)
class NeverSent:
    """The payment could not be sent at all, for as long as that is tried."""

    error: VoiceCallError


@dataclass(frozen=True, slots=True)
class TimeUp:
    """This run has no more time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The service says how the call ended."""

    job: Job


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Another worker holds the call."""


# What follows


def after_claimed(
    state: Claimed, event: Offered | Accepted | Refusal | Overtaken
) -> Quoted | Placed | Held | Refused | Lost:
    """The price has been asked for."""
    match event:
        case Offered():
            return Quoted(event.offer, state.approved, state.offers + 1)
        case Accepted():
            return Placed()
        case Refusal() if event.error.code == "approval_required":
            return Held(event.error, state)
        case Refusal():
            return Refused(event.error)
        case Overtaken():
            return Lost()
    assert_never(event)


def after_held(
    state: Held, event: Released | NotYet | Refusal | Overtaken
) -> Claimed | Refused | Lost:
    """The account's person has been waited for."""
    match event:
        case Released():
            return state.then
        case NotYet():
            return Refused(event.error, on_record=False)
        case Refusal():
            return Refused(event.error)
        case Overtaken():
            return Lost()
    assert_never(event)


def after_quoted(
    state: Quoted, event: Allowed | Refusal | Overtaken
) -> Asking | Agreed | Refused | Lost:
    """The policy and the application have seen the price."""
    match event:
        case Allowed(ask=True):
            return Asking(state.offer, state.approved, state.offers)
        case Allowed():
            return Agreed(state.offer, state.approved, state.offers)
        case Refusal():
            return Refused(event.error)
        case Overtaken():
            return Lost()
    assert_never(event)


def after_asking(
    state: Asking, event: Answered | Unanswered | Refusal | Overtaken
) -> Agreed | Declined | Edited | Paused | Refused | Lost:
    """A person has been asked."""
    match event:
        case Answered():
            return _after_answer(state, event)
        case Unanswered():
            return Paused(event.question)
        case Refusal():
            return Refused(event.error)
        case Overtaken():
            return Lost()
    assert_never(event)


def _after_answer(state: Asking, event: Answered) -> Agreed | Declined | Edited:
    match event.decision:
        case Approve():
            return Agreed(state.offer, event.question.price, state.offers)
        case Edit():
            return Edited(event.decision, event.question)
        case Reject() | Respond():
            return Declined(event.decision.message, event.question)
    assert_never(event.decision)


def after_agreed(
    state: Agreed, event: OnRecord | OfferOver | SameCall | Refusal | Overtaken
) -> Signed | Claimed | Duplicate | Refused | Lost:
    """The payment has been signed, or could not be."""
    match event:
        case OnRecord():
            return Signed(sent=False)
        case OfferOver():
            return Claimed(state.approved, state.offers)
        case SameCall():
            return Duplicate(event.record)
        case Refusal():
            return Refused(event.error)
        case Overtaken():
            return Lost()
    assert_never(event)


def after_signed(
    state: Signed, event: Accepted | Silence | PaymentRefused | NeverSent | TimeUp | Overtaken
) -> Signed | Placed | Refused | StartOver | Unknown | Lost:
    """The payment has been sent, for the first time or again, or looked for."""
    match event:
        case Accepted():
            return Placed()
        case Silence():
            return replace(state, sent=True, used=state.used or event.used)
        case PaymentRefused():
            return _after_refused_payment(state, event)
        case NeverSent():
            return Refused(event.error)
        case TimeUp():
            return Unknown()
        case Overtaken():
            return Lost()
    assert_never(event)


def _after_refused_payment(state: Signed, event: PaymentRefused) -> Signed | Refused | StartOver:
    if not state.sent:
        # The first time, so the refusal is about this very payment: nothing was charged.
        held = event.error.code == "approval_required"
        starts_over = event.again and (held or event.stale)
        return StartOver(event.error) if starts_over else Refused(event.error)
    if state.used or not event.proven:
        return state  # it may be refused because it was taken the first time
    return StartOver(event.error) if event.again else Refused(event.error)


def after_placed(state: Placed, event: Ended | TimeUp | Overtaken) -> Done | InProgress | Lost:
    """The call has been waited for."""
    del state
    match event:
        case Ended():
            return Done(event.job)
        case TimeUp():
            return InProgress()
        case Overtaken():
            return Lost()
    assert_never(event)
