"""The state machine of one run of a call: a state and an event give the next state.

These functions are pure: they do no I/O and read no clock. Each state's docstring names the states
that may follow it. `AFTER` is the same as a table, and the diagram in `docs/life-of-a-call.md` is
drawn from it. The driver performs the step that a state needs, and turns its outcome into an event.

The journal has fewer states (`call_states.py`), because it stores only what a restart needs.
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
"""Limit on quotes in one run, so that a run ends even if every quote becomes invalid."""

MOST_RELEASES = 3
"""Limit on account approvals in one run, so that a run ends even if each one is not enough."""

USED = "used"
"""Error code of a call whose payment or quote was used, but whose answer is not known."""


# States in which the run continues


@dataclass(frozen=True, slots=True)
class Claimed:
    """This run owns the call and needs a price.

    Followed by `Quoted`, `Placed` (the service calls without a payment), `Held` or `Refused`.
    """

    approved: Decimal | None = None
    """The price in US dollars that a person approved earlier."""
    offers: int = 0
    """Number of quotes requested so far in this run."""


@dataclass(frozen=True, slots=True)
class Held:
    """The account's rules require that a person approves the call at the provider.

    Followed by `Claimed` or `Refused`.
    """

    refusal: VoiceCallError
    then: Claimed


@dataclass(frozen=True, slots=True)
class Quoted:
    """The price is known.

    Followed by `Asking`, `Agreed` or `Refused`.
    """

    offer: Offer
    approved: Decimal | None = None
    offers: int = 0


@dataclass(frozen=True, slots=True)
class Asking:
    """A person has to approve this offer.

    Followed by `Agreed`, `Declined`, `Edited`, `Paused` or `Refused`.
    """

    offer: Offer
    approved: Decimal | None = None
    offers: int = 0


@dataclass(frozen=True, slots=True)
class Agreed:
    """The policy, the application and the person agree to this offer.

    Followed by `Signed`, `Claimed` (the offer is no longer valid), `Duplicate` or `Refused`.
    """

    offer: Offer
    approved: Decimal | None = None
    offers: int = 0


@dataclass(frozen=True, slots=True)
class Signed:
    """The journal has the exact signed bytes.

    `sent` is false until this run has sent the bytes once. A refusal of the first send is about
    this payment. A refusal of a later send may only mean that the first one arrived.

    Followed by `Signed`, `Placed`, `Refused`, `StartOver` or `Unknown`.
    """

    sent: bool
    used: bool = False
    """The service reported at least once that this payment or quote was used."""


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
    """The time to wait is over; the call has not ended."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A person rejected the call, or answered instead of it. This is final for every later run."""

    message: str | None
    question: AskedQuestion | None = None


@dataclass(frozen=True, slots=True)
class Edited:
    """A person replaced the call by another one, which has its own key and its own run."""

    decision: Edit
    question: AskedQuestion


@dataclass(frozen=True, slots=True)
class Paused:
    """The graph must be paused with this question."""

    question: AskedQuestion


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was or can be charged. The same key may be claimed again later."""

    error: VoiceCallError
    on_record: bool = True
    """False if the journal's record stays unchanged, so that a later run continues from it."""


@dataclass(frozen=True, slots=True)
class StartOver:
    """Nothing was charged, and a new quote may work.

    Followed by `Claimed`, after the call is claimed again.
    """

    because: VoiceCallError


@dataclass(frozen=True, slots=True)
class Unknown:
    """It can't be determined whether the payment was charged."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same call exists under another key: it is running or ended recently."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class Lost:
    """Another worker owns the call now. This run does nothing more to it."""


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
"""The possible next states of each state. `Lost` may also follow every state."""


# Events: the outcome of a step


@dataclass(frozen=True, slots=True)
class Offered:
    """The service returned a quote."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Accepted:
    """The service accepted the call."""

    placement: Placement


@dataclass(frozen=True, slots=True)
class Refusal:
    """The service, the account, the policy, a guard or the application refused the call."""

    error: VoiceCallError


@dataclass(frozen=True, slots=True)
class Released:
    """A person approved the call at the provider."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The person at the provider has not answered in time."""

    error: VoiceCallError


@dataclass(frozen=True, slots=True)
class Allowed:
    """The policy and the application allow the call at this price."""

    ask: bool
    """True if a person has to be asked."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A person answered the question."""

    question: AskedQuestion
    decision: Decision


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The question is stored and waits for an answer through the graph."""

    question: AskedQuestion


@dataclass(frozen=True, slots=True)
class OnRecord:
    """The journal has the signed bytes."""


@dataclass(frozen=True, slots=True)
class OfferOver:
    """The offer is no longer valid."""


@dataclass(frozen=True, slots=True)
class SameCall:
    """The same call exists under another key: it is running or ended recently."""

    record: CallRecord


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """There was no answer, or one that does not show whether the payment was taken."""

    used: bool = False
    """The service reports that this payment or quote was used, so an attempt succeeded."""


@dataclass(frozen=True, slots=True)
class PaymentRefused:
    """The service refused the payment.

    Attributes:
        error: the refusal.
        stale: a new quote may be accepted although this one was not.
        proven: it is certain that nothing was charged. Either this was the first send, or the
            authorization has expired and the complete list of receipts does not contain it.
        again: this run may start over.
    """

    error: VoiceCallError
    stale: bool
    proven: bool
    again: bool


@dataclass(frozen=True, slots=True)
class NeverSent:
    """The payment could not be sent within the time limit for sending."""

    error: VoiceCallError


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The time limit of this run has passed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The service reported the end of the call."""

    job: Job


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Another worker has taken over the call."""


# Transitions


def after_claimed(
    state: Claimed, event: Offered | Accepted | Refusal | Overtaken
) -> Quoted | Placed | Held | Refused | Lost:
    """Return the state after a quote was requested."""
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
    """Return the state after the wait for an approval at the provider."""
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
    """Return the state after the policy and the application checked the price."""
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
    """Return the state after a person was asked."""
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
    """Return the state after an attempt to sign the payment."""
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
    state: Signed, event: Accepted | NoVerdict | PaymentRefused | NeverSent | TimeUp | Overtaken
) -> Signed | Placed | Refused | StartOver | Unknown | Lost:
    """Return the state after the payment was sent, sent again, or searched for."""
    match event:
        case Accepted():
            return Placed()
        case NoVerdict():
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
        # The first send, so the refusal is about this payment: nothing was charged.
        held = event.error.code == "approval_required"
        starts_over = event.again and (held or event.stale)
        return StartOver(event.error) if starts_over else Refused(event.error)
    if state.used or not event.proven:
        return state  # it may be refused because the first send was accepted
    return StartOver(event.error) if event.again else Refused(event.error)


def after_placed(state: Placed, event: Ended | TimeUp | Overtaken) -> Done | InProgress | Lost:
    """Return the state after the wait for the end of the call."""
    del state
    match event:
        case Ended():
            return Done(event.job)
        case TimeUp():
            return InProgress()
        case Overtaken():
            return Lost()
    assert_never(event)
