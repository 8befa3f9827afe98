"""The life of a call, state by state: what each event leads to, and what the tables say."""

from __future__ import annotations

import inspect
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from langchain_oneshot_voice import VoiceCallError, VoiceCallInput, VoiceCallQuote
from langchain_oneshot_voice.approval import Approve, Edit, EditedCall, Reject, Respond
from langchain_oneshot_voice.call_states import ENDED, FOLLOWS, STATES, UNSETTLED, UNSIGNED
from langchain_oneshot_voice.calls import diagram
from langchain_oneshot_voice.calls import states as s
from langchain_oneshot_voice.errors import CallRefusedError
from langchain_oneshot_voice.journal import AskedQuestion, CallRecord
from langchain_oneshot_voice.oneshot.answers import Job, Placement
from langchain_oneshot_voice.oneshot.client import Offer

PAGE = Path(__file__).parents[2] / "docs" / "life-of-a-call.md"
PRICE, DEARER = Decimal("1.75"), Decimal("2.50")
REQUEST = VoiceCallInput(objective="Ask when they close.", target_number="+14155550100")
JOB = Job("completed", {"status": "completed"})
NO = CallRefusedError("No.", code="action_denied_by_policy")
HELD = CallRefusedError("Held.", code="approval_required", details={"approval_id": "a-1"})
GONE = CallRefusedError("Gone.", code="quote_expired")


def offer(total: Decimal = PRICE) -> Offer:
    """An offer at a price."""
    return Offer(VoiceCallQuote(quote_id="q-1", total=total), None, {"body": {}, "header": None})


OFFER = offer()
QUESTION = AskedQuestion(
    question_id="a" * 32,
    call_key="k",
    number=0,
    thread="t",
    namespace="n",
    request={},
    offer=OFFER.source,
    price=PRICE,
)
EDIT = Edit(edited_action=EditedCall(args=REQUEST))
CLAIMED = s.Claimed(offers=3)
RECORD = typing.cast("CallRecord", object())


def refused(*, stale: bool = False, proven: bool = True, again: bool = True, **more: Any) -> Any:
    """A payment that the service refused."""
    error: VoiceCallError = more.get("error", NO)
    return s.PaymentRefused(error, stale=stale, proven=proven, again=again)


STEPS: list[tuple[Any, Any, Any, Any]] = [
    (s.after_claimed, CLAIMED, s.Offered(OFFER), s.Quoted(OFFER, None, 4)),
    (s.after_claimed, s.Claimed(DEARER), s.Offered(OFFER), s.Quoted(OFFER, DEARER, 1)),
    (s.after_claimed, CLAIMED, s.Accepted(Placement("r-1")), s.Placed()),
    (s.after_claimed, CLAIMED, s.Refusal(NO), s.Refused(NO)),
    (s.after_claimed, CLAIMED, s.Refusal(HELD), s.Held(HELD, CLAIMED)),
    (s.after_claimed, CLAIMED, s.Overtaken(), s.Lost()),
    (s.after_held, s.Held(HELD, CLAIMED), s.Released(), CLAIMED),
    (s.after_held, s.Held(HELD, CLAIMED), s.NotYet(NO), s.Refused(NO, on_record=False)),
    (s.after_held, s.Held(HELD, CLAIMED), s.Refusal(NO), s.Refused(NO)),
    (s.after_held, s.Held(HELD, CLAIMED), s.Overtaken(), s.Lost()),
    (s.after_quoted, s.Quoted(OFFER, None, 2), s.Allowed(ask=True), s.Asking(OFFER, None, 2)),
    (s.after_quoted, s.Quoted(OFFER, PRICE, 2), s.Allowed(ask=False), s.Agreed(OFFER, PRICE, 2)),
    (s.after_quoted, s.Quoted(OFFER), s.Refusal(NO), s.Refused(NO)),
    (s.after_quoted, s.Quoted(OFFER), s.Overtaken(), s.Lost()),
    (
        s.after_asking,
        s.Asking(OFFER, None, 2),
        s.Answered(QUESTION, Approve()),
        s.Agreed(OFFER, PRICE, 2),
    ),
    (
        s.after_asking,
        s.Asking(OFFER),
        s.Answered(QUESTION, Reject(message="No.")),
        s.Declined("No.", QUESTION),
    ),
    (
        s.after_asking,
        s.Asking(OFFER),
        s.Answered(QUESTION, Respond(message="Done.")),
        s.Declined("Done.", QUESTION),
    ),
    (s.after_asking, s.Asking(OFFER), s.Answered(QUESTION, EDIT), s.Edited(EDIT, QUESTION)),
    (s.after_asking, s.Asking(OFFER), s.Unanswered(QUESTION), s.Paused(QUESTION)),
    (s.after_asking, s.Asking(OFFER), s.Refusal(NO), s.Refused(NO)),
    (s.after_asking, s.Asking(OFFER), s.Overtaken(), s.Lost()),
    (s.after_agreed, s.Agreed(OFFER), s.OnRecord(), s.Signed(sent=False)),
    (s.after_agreed, s.Agreed(OFFER, PRICE, 5), s.OfferOver(), s.Claimed(PRICE, 5)),
    (s.after_agreed, s.Agreed(OFFER), s.SameCall(RECORD), s.Duplicate(RECORD)),
    (s.after_agreed, s.Agreed(OFFER), s.Refusal(NO), s.Refused(NO)),
    (s.after_agreed, s.Agreed(OFFER), s.Overtaken(), s.Lost()),
    (s.after_signed, s.Signed(sent=False), s.Accepted(Placement("r-1")), s.Placed()),
    (s.after_signed, s.Signed(sent=False), s.NoVerdict(), s.Signed(sent=True)),
    (s.after_signed, s.Signed(sent=True), s.NoVerdict(used=True), s.Signed(sent=True, used=True)),
    (
        s.after_signed,
        s.Signed(sent=True, used=True),
        s.NoVerdict(),
        s.Signed(sent=True, used=True),
    ),
    (s.after_signed, s.Signed(sent=False), refused(), s.Refused(NO)),
    (s.after_signed, s.Signed(sent=False), refused(stale=True, error=GONE), s.StartOver(GONE)),
    (
        s.after_signed,
        s.Signed(sent=False),
        refused(stale=True, again=False, error=GONE),
        s.Refused(GONE),
    ),
    (s.after_signed, s.Signed(sent=False), refused(error=HELD), s.StartOver(HELD)),
    (s.after_signed, s.Signed(sent=False), refused(again=False, error=HELD), s.Refused(HELD)),
    (s.after_signed, s.Signed(sent=True), refused(), s.StartOver(NO)),
    (s.after_signed, s.Signed(sent=True), refused(again=False), s.Refused(NO)),
    (s.after_signed, s.Signed(sent=True), refused(proven=False), s.Signed(sent=True)),
    (
        s.after_signed,
        s.Signed(sent=True, used=True),
        refused(),
        s.Signed(sent=True, used=True),
    ),
    (s.after_signed, s.Signed(sent=False), s.NeverSent(NO), s.Refused(NO)),
    (s.after_signed, s.Signed(sent=True), s.TimeUp(), s.Unknown()),
    (s.after_signed, s.Signed(sent=True), s.Overtaken(), s.Lost()),
    (s.after_placed, s.Placed(), s.Ended(JOB), s.Done(JOB)),
    (s.after_placed, s.Placed(), s.TimeUp(), s.InProgress()),
    (s.after_placed, s.Placed(), s.Overtaken(), s.Lost()),
]


@pytest.mark.parametrize(("after", "state", "event", "then"), STEPS)
def test_event_leads_to_the_next_state(after: Any, state: Any, event: Any, then: Any) -> None:
    """A state and an event give the next state, and nothing else has a say."""
    assert after(state, event) == then


@pytest.mark.parametrize("state", s.AFTER, ids=lambda state: state.__name__)
def test_table_says_what_may_follow(state: type[Any]) -> None:
    """The table of what may follow, the function's type and the tried steps agree."""
    after = getattr(s, f"after_{state.__name__.lower()}")
    declared = set(typing.get_args(typing.get_type_hints(after)["return"])) - {s.Lost}
    tried = {type(then) for a, _, _, then in STEPS if a is after} - {s.Lost}
    assert set(s.AFTER[state]) == declared == tried


@pytest.mark.parametrize("state", s.AFTER, ids=lambda state: state.__name__)
def test_docstring_names_what_may_follow(state: type[Any]) -> None:
    """Each state's own words name every state that may follow it."""
    words = inspect.getdoc(state) or ""
    assert [then.__name__ for then in s.AFTER[state] if f"`{then.__name__}`" not in words] == []


def test_every_event_of_every_state_is_tried() -> None:
    """No event that a step can see is without a test."""
    for state in s.AFTER:
        after = getattr(s, f"after_{state.__name__.lower()}")
        events = set(typing.get_args(typing.get_type_hints(after)["event"]))
        assert events == {type(event) for a, _, event, _ in STEPS if a is after}


def test_table_of_recorded_states_is_whole() -> None:
    """Ends are never left, unsigned states lead to no unknown, and each state is in one group."""
    assert all(not FOLLOWS[state] for state in ENDED)
    assert all("unknown" not in FOLLOWS[state] for state in UNSIGNED)
    assert {*ENDED, *UNSIGNED, *UNSETTLED} == set(STATES)
    assert not (ENDED & UNSIGNED | ENDED & UNSETTLED | UNSIGNED & UNSETTLED)


def test_page_shows_the_diagrams_that_the_tables_draw() -> None:
    """`docs/life-of-a-call.md` is as `python -m langchain_oneshot_voice.calls.diagram` draws it."""
    written = PAGE.read_text(encoding="utf-8")
    assert diagram.run_diagram() in written
    assert diagram.record_diagram() in written
    assert diagram.vocabulary() in written
    assert written == diagram.page(written)
