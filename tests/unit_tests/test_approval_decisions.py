"""What is asked, and what an answer means."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice import VoiceCallInput, VoiceCallQuote
from langchain_oneshot_voice.approval import Approve, Edit, Reject, Respond
from langchain_oneshot_voice.approval.decisions import (
    Unreadable,
    from_store,
    read_decision,
    stored,
)
from langchain_oneshot_voice.approval.questions import Question, question_id

ARGS = {"objective": "Ask when they close today.", "target_number": "+14155550100"}
REQUEST = VoiceCallInput.model_validate(ARGS)
QUOTE = VoiceCallQuote(
    quote_id="quote-1", total=Decimal("1.75"), numbers=("+14155550100",), raw={"secret": "no"}
)
EDIT = {"type": "edit", "edited_action": {"name": "voice_call", "args": ARGS}}

READABLE: list[tuple[Any, type]] = [
    (True, Approve),
    ("approve", Approve),
    ({"type": "approve"}, Approve),
    ({"decisions": [{"type": "approve"}]}, Approve),
    ([{"type": "approve"}], Approve),
    ({"type": "approve", "question": "q" * 32}, Approve),
    (Approve(), Approve),
    (False, Reject),
    ("reject", Reject),
    ({"type": "reject", "message": "No."}, Reject),
    ({"type": "respond", "message": "Done."}, Respond),
    (EDIT, Edit),
]
UNREADABLE: list[Any] = [
    None,
    1,
    0,
    "yes",
    "Approve",
    "edit",
    "respond",
    {},
    {"type": "respond"},
    {"type": "edit"},
    {"type": "edit", "edited_action": {"name": "send_money", "args": ARGS}},
    {"type": "edit", "edited_action": {"name": "voice_call", "args": {"objective": "short"}}},
    {"decisions": []},
    {"decisions": [{"type": "approve"}, {"type": "reject"}]},
    [{"type": "approve"}, {"type": "approve"}],
    [[{"type": "approve"}]],
    {"type": "approve", "question": "p" * 32},
]


def read(answer: Any) -> Any:
    """An answer to the question `qqq...` of the tool `voice_call`."""
    return read_decision(answer, tool_name="voice_call", question_id="q" * 32)


def question(**changes: Any) -> Question:
    """A question about a call of $1.75 that can cost $3.50."""
    usual: dict[str, Any] = {
        "question_id": "q" * 32,
        "request": REQUEST,
        "quote": QUOTE,
        "worst_case": Decimal("3.500000"),
    }
    return Question(**usual | changes)


@pytest.mark.parametrize(("answer", "kind"), READABLE, ids=lambda v: str(v)[:40])
def test_answer_is_read(answer: Any, kind: type) -> None:
    """Each spelling of a decision is that decision."""
    assert type(read(answer)) is kind


@pytest.mark.parametrize(("answer", "kind"), READABLE, ids=lambda v: str(v)[:40])
def test_stored_decision_is_read_back_as_it_was(answer: Any, kind: type) -> None:
    """The journal gives back the decision that was written."""
    decision = read(answer)
    read_back: Any = from_store(json.loads(json.dumps(stored(decision))))
    assert (type(read_back), read_back) == (kind, decision)


@pytest.mark.parametrize("answer", UNREADABLE, ids=lambda v: str(v)[:40])
def test_unclear_answer_is_no_decision(answer: Any) -> None:
    """An unclear answer, or one to another question, is told apart and says why."""
    unclear = read(answer)
    assert isinstance(unclear, Unreadable)
    assert unclear.why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"type": "respond"}, "it is not a valid decision (Field required)"),
        ("respond", "it is not a valid decision (Field required)"),
        (
            {"type": "reject", "message": 1},
            "it is not a valid decision (Input should be a valid string)",
        ),
        ([], "0 decisions came for one question"),
    ],
)
def test_unclear_answer_is_told_what_is_wrong_with_it(answer: Any, why: str) -> None:
    """In words, each problem once, so that the next answer can be a better one."""
    assert read(answer) == Unreadable(why)


def test_words_about_an_unclear_answer_do_not_go_on_for_ever() -> None:
    """An edit can be wrong in many places at once; a person reads a few lines of it."""
    wrong: dict[str, Any] = {name: [] for name in VoiceCallInput.model_fields}
    edited = {"name": "voice_call", "args": wrong | {"target_number": "1" * 5000}}
    unclear = read({"type": "edit", "edited_action": edited})
    assert len(unclear.why) <= len("it is not a valid decision ()") + 400


@given(st.text() | st.integers() | st.none() | st.lists(st.booleans()) | st.floats())
def test_nothing_else_is_a_yes(answer: Any) -> None:
    """Only `True` and the word itself approve, alone or as a list of one."""
    approves = isinstance(read(answer), Approve)
    assert approves == (answer == "approve" or answer is True)


def test_edit_may_name_no_other_tool() -> None:
    """A renamed tool is edited under its own name."""
    call = {"type": "edit", "edited_action": {"name": "phone", "args": ARGS}}
    assert isinstance(read_decision(call, tool_name="phone"), Edit)
    assert isinstance(read_decision(call, tool_name="voice_call"), Unreadable)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Phone call to +14155550100 for $1.75 (at the most $3.50)."),
        ({"worst_case": Decimal("1.75")}, "Phone call to +14155550100 for $1.75. Objective"),
        (
            {"agreed_before": Decimal(1)},
            "(at the most $3.50). You agreed to $1.00; it costs more now. Objective",
        ),
        ({"quote": QUOTE.model_copy(update={"conference": True})}, "Conference call to"),
        ({"worst_case": Decimal("3.123456")}, "(at the most $3.123456)"),
    ],
)
def test_question_in_words(changes: dict[str, Any], words: str) -> None:
    """Whom it rings, what it costs now and at the most, and what it is for."""
    described = question(**changes).description()
    assert words in described
    assert described.endswith("Objective: Ask when they close today.")


def test_question_holds_the_whole_request_and_nothing_raw() -> None:
    """The arguments are those of the tool; what the service sent beside the quote stays out."""
    value = question(tool_call_id="call-1").value()
    assert (value["args"], value["tool_call_id"]) == (ARGS, "call-1")
    assert "secret" not in json.dumps(value)


def test_what_a_person_is_shown_has_no_hidden_characters() -> None:
    """Terminal orders, direction marks and invisible letters are taken out of every text."""
    painted = "Ask when\x1b[1A\x1b[2K they \u202eclose\U000e0041 today."
    shown = question(
        request=REQUEST.model_copy(update={"objective": painted}),
        quote=QUOTE.model_copy(update={"talking_points": ("a\x07b\u2066c",)}),
    ).value()
    words = json.dumps(shown, ensure_ascii=False)
    assert not any(c in words for c in "\x1b\u202e\U000e0041\x07\u2066")
    assert shown["quote"]["talking_points"] == ["abc"]


def test_question_leaves_out_what_is_not_known_and_cuts_what_is_long() -> None:
    """The service's texts are shown up to 2,000 characters; nothing is shown as empty."""
    quote = QUOTE.model_copy(update={"talking_points": ("x" * 3000, "y" * 2000)})
    shown = question(quote=quote).value()
    assert [len(text) for text in shown["quote"]["talking_points"]] == [2000, 2000]
    assert [name for name, value in (shown | shown["quote"]).items() if value is None] == []


@pytest.mark.parametrize(
    "change",
    [
        {"thread": "2"},
        {"namespace": "n:2"},
        {"call_key": "k2"},
        {"number": 1},
        {"request": ARGS | {"caller_name": "Rivera"}},
        {"price": Decimal("1.76")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_question_id_is_of_one_question_only(change: dict[str, Any]) -> None:
    """Whatever differs, the id differs; it has the form that LangGraph takes for an id."""
    usual: dict[str, Any] = {
        "thread": "1",
        "namespace": "n:1",
        "call_key": "k",
        "number": 0,
        "request": ARGS,
        "price": Decimal("1.75"),
    }
    name = question_id(**usual)
    assert name != question_id(**usual | change)
    assert (len(name), name.strip("0123456789abcdef")) == (32, "")
