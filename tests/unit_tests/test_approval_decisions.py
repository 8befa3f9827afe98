"""What is asked, and what an answer means."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice import ConfigurationError, VoiceCallInput, VoiceCallQuote
from langchain_oneshot_voice.approval import (
    Approve,
    Edit,
    Question,
    Reject,
    Respond,
    ask,
    read_decision,
)

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
    [{"type": "approve"}],
]


def question(**changes: Any) -> Question:
    """A question about a call of $1.75 that can cost $3.50."""
    usual: dict[str, Any] = {"request": REQUEST, "quote": QUOTE, "worst_case": Decimal("3.500000")}
    return Question(**usual | changes)


@pytest.mark.parametrize(("answer", "kind"), READABLE, ids=lambda v: str(v)[:40])
def test_answer_is_read(answer: Any, kind: type) -> None:
    """Each spelling of a decision is that decision."""
    assert type(read_decision(answer)) is kind


@pytest.mark.parametrize("answer", UNREADABLE, ids=lambda v: str(v)[:40])
def test_unclear_answer_is_an_error(answer: Any) -> None:
    """What is no decision, or two, is refused in words that say what would be one."""
    with pytest.raises(ConfigurationError, match="Answer with approve, edit, reject or respond"):
        read_decision(answer)


@given(st.text() | st.integers() | st.none() | st.lists(st.booleans()) | st.floats())
def test_nothing_else_is_a_yes(answer: Any) -> None:
    """No number, word or list but the word itself approves."""
    try:
        decision = read_decision(answer)
    except ConfigurationError:
        return
    assert not isinstance(decision, Approve) or answer == "approve"


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
    value = question(tool_call_id="call-1").interrupt_value()
    assert (value["args"], value["tool_call_id"]) == (ARGS, "call-1")
    assert "secret" not in json.dumps(value)


async def test_never_asks_nobody() -> None:
    """Without an approval configured every call that the policy allows is agreed to."""
    assert await ask("never", question()) == Approve()
