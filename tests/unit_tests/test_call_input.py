"""What a model may ask for, and how it is told what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from placing import OBJECTIVE, arguments, tool_call
from pydantic import ValidationError

from langchain_oneshot_voice import VoiceCallInput, VoiceCallTool
from langchain_oneshot_voice.schemas import mask_number, to_e164


@pytest.mark.parametrize(
    "spelled",
    [
        "+14155550100",
        "+1 (415) 555-0100",
        "+1.415.555.0100",
        " +1 415 555 0100 ",
        "+1\u2011415\u2011555\u20110100",
        "+1\u00a0415\u00a0555\u00a00100",
    ],
)
def test_number_may_be_spelled_as_people_do(spelled: str) -> None:
    """Spaces, dots, dashes and brackets are dropped from a number."""
    assert to_e164(spelled) == "+14155550100"


@pytest.mark.parametrize(
    "spelled",
    [
        "",
        "+",
        "4155550100",
        "14155550100",
        "0014155550100",
        "+04155550100",
        "+1415555010000000",
        "+123456",
        "+1 415 555 0100 ext 7",
        "+1415555O100",
        "++14155550100",
        "+\u0661\u0664\u0661\u0665\u0665\u0665\u0665\u0660\u0661\u0660\u0660",
        "+14155550100;+14155550111",
        "911",
        "tel:+14155550100",
    ],
)
def test_what_is_not_e164_is_refused_with_an_example(spelled: str) -> None:
    """A number without a plus and a country code, or with anything else in it, is refused."""
    with pytest.raises(ValueError, match=r"such as \+14155550100"):
        to_e164(spelled)


@given(st.text(max_size=30))
def test_number_is_e164_or_refused(spelled: str) -> None:
    """No text becomes a number that is not a plus and 7 to 15 ASCII digits."""
    try:
        number = to_e164(spelled)
    except ValueError:
        return
    assert number[0] == "+"
    assert number.isascii()
    assert number[1:].isdigit()
    assert 7 <= len(number[1:]) <= 15


def test_mask_shows_the_country_and_the_end_only() -> None:
    """A masked number is recognizable to its owner, and can't be dialled."""
    assert mask_number("+14155550100") == "+14*******00"
    assert mask_number("911") == "***"


def test_one_number_in_a_list_is_one_number() -> None:
    """A list of one is the number itself, so that both spellings are the same call."""
    assert VoiceCallInput(**arguments(["+1 415 555 0100"])).target_number == "+14155550100"


def test_several_numbers_are_a_list() -> None:
    """Several numbers stay in their order."""
    request = VoiceCallInput(**arguments(["+14155550110", "+1 415 555 0100"]))

    assert request.numbers == ("+14155550110", "+14155550100")


@pytest.mark.parametrize(
    "numbers",
    [[], [f"+1415555011{n}" for n in range(6)], ["+14155550100", "+1 415 555 0100"], [7], None, ""],
)
def test_none_too_many_or_the_same_twice_is_refused(numbers: Any) -> None:
    """A call takes one to five different numbers."""
    with pytest.raises(ValidationError):
        VoiceCallInput(objective=OBJECTIVE, target_number=numbers)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": "too short"},
        {"objective": "x" * 5001},
        {"objective": "          x          "},
        {"caller_persona": "x" * 1001},
        {"caller_name": "x" * 101},
        {"context": "x" * 10_001},
        {"max_duration_minutes": 0},
        {"max_duration_minutes": 31},
        {"max_duration_minutes": 2.5},
    ],
)
def test_field_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    """Each field keeps to the service's own bounds."""
    with pytest.raises(ValidationError):
        VoiceCallInput(**arguments() | changes)


def test_every_problem_is_told_at_once() -> None:
    """One answer names everything that is wrong, so that one correction mends it all."""
    tool = VoiceCallTool(private_key="0x" + "1" * 64, journal="memory")
    message = tool.invoke(
        tool_call(
            objective="Hi",
            target_number=["+1 415", "+14155550100", "+14155550100", "their office"],
            max_duration_minutes=99,
        )
    )

    assert message.status == "error"
    assert "not placed and nothing was charged" in message.content
    for part in (
        "objective",
        "max_duration_minutes",
        "'+1 415'",
        "'their office'",
        "+14155550100 is given more than once",
    ):
        assert part in message.content


def test_wrong_types_are_told_in_words_for_a_model() -> None:
    """A problem with a union is told for the field, not for the branches of a Python type."""
    tool = VoiceCallTool(private_key="0x" + "1" * 64, journal="memory")
    message = tool.invoke(tool_call(target_number=4155550100))

    assert "- objective: Field required" in message.content
    assert "- target_number: " in message.content
    assert "function-after" not in message.content
