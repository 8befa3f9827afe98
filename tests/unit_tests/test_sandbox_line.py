from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_oneshot_voice.sandbox import MAGIC_NUMBERS, CallScript
from langchain_oneshot_voice.sandbox.call_request import CallRequest, read_call_request
from langchain_oneshot_voice.sandbox.chain import atomic, usd
from langchain_oneshot_voice.sandbox.clock import Clock, iso
from langchain_oneshot_voice.sandbox.line import Line
from langchain_oneshot_voice.sandbox.proofs import decode_header
from langchain_oneshot_voice.sandbox.refusals import Refusal
from langchain_oneshot_voice.sandbox.switchboard import mask


def request(objective: str, *numbers: str) -> CallRequest:
    """A valid request."""
    return CallRequest({"objective": objective}, numbers or ("+14155551234",))


@pytest.mark.parametrize(
    ("objective", "kind", "fact"),
    [
        ("Book a table for 4 at 6:30 pm tomorrow", "reservation", ("party_size", 4)),
        ("Book a table for 4 at 6:30 pm tomorrow", "reservation", ("time", "6:30 pm tomorrow")),
        ("Schedule a dentist appointment", "appointment", ("appointment_confirmed", True)),
        ("Ask about the opening hours", "opening hours", ("opens", "09:00")),
        ("Find out the price of a repair", "price", ("tax_included", True)),
        ("Tell them the parcel has arrived", "request", ("objective_met", True)),
    ],
)
def test_the_conversation_fits_the_objective(
    objective: str, kind: str, fact: tuple[str, object]
) -> None:
    """What comes of a call is what was asked for."""
    result = Line().pick_up(request(objective)).result
    assert result is not None
    assert result["structured_data"]["kind"] == kind
    assert result["structured_data"][fact[0]] == fact[1]


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("Call the restaurant to book a table", "I'm calling to book a table."),
        ("Ask when they open", "I'm calling to ask when they open."),
        ("The heating is broken again", "I'm calling about this: The heating is broken again."),
    ],
)
def test_the_caller_says_first_that_it_is_an_ai_and_why_it_calls(objective: str, said: str) -> None:
    """The first line names the caller for what it is, and turns the objective into an errand."""
    result = Line().pick_up(request(objective)).result
    assert result is not None
    assert result["transcript"].splitlines()[0] == f"AI: Hello, this is an AI assistant. {said}"


@given(st.text(min_size=10, max_size=200), st.integers(min_value=1, max_value=5))
def test_any_objective_makes_a_call(objective: str, people: int) -> None:
    """Whatever is asked of however many people, the polite person has an answer."""
    result = Line().pick_up(request(objective, *["+14155551234"] * people)).result
    assert result is not None
    assert result["success_evaluation"] == "pass"
    assert "AI assistant" in result["transcript"]


def test_every_magic_number_has_an_end_of_its_own() -> None:
    """No two of the numbers lead to the same result."""
    line = Line()
    picked = [line.pick_up(request("Book a table for two", number)) for number in MAGIC_NUMBERS]
    assert len({str((p.result, p.script.error_code)) for p in picked}) == len(MAGIC_NUMBERS)
    assert all(p.result is None or p.result["success_evaluation"] == "fail" for p in picked)


def test_a_script_wins_over_a_magic_number() -> None:
    """What a test expects at a number happens there, whatever the number is known for."""
    line = Line()
    line.expect("+14155550101", CallScript(summary="All well"))
    result = line.pick_up(request("Book a table for two", "+14155550101")).result
    assert result is not None
    assert (result["summary"], result["outcome"]) == ("All well", "reached_person")


def test_a_failed_script_has_a_result_only_when_it_says_something() -> None:
    """A failure comes without a result, or with the one that was given."""
    assert CallScript(status="failed").result({"summary": "usual"}) is None
    assert CallScript(status="failed", summary="x").result({"a": 1}) == {"a": 1, "summary": "x"}


@given(st.decimals(min_value=0, max_value=10_000, places=6))
def test_money_keeps_its_millionths(amount: Decimal) -> None:
    """Neither spelling of an amount loses anything."""
    assert Decimal(usd(amount)) == amount
    assert Decimal(atomic(amount)) / 10**6 == amount


def test_dollars_have_two_decimals_and_more_only_where_needed() -> None:
    """Amounts look as prices do."""
    assert [usd(Decimal(a)) for a in ("5", "0.35", "0.000001")] == ["5.00", "0.35", "0.000001"]


def test_the_clock_only_goes_forward() -> None:
    """Time can be skipped, never turned back."""
    clock = Clock()
    before = clock.now()
    clock.advance(100)
    assert clock.now() >= before + 100
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


def test_moments_are_written_in_utc() -> None:
    """A time on the wire is ISO 8601 with a `Z`."""
    assert iso(0) == "1970-01-01T00:00:00.000Z"


def test_a_masked_number_shows_its_end_only() -> None:
    """What is logged does not tell whom was called."""
    assert mask("+14155551234") == "…1234"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=8))
def test_a_body_of_any_shape_is_answered_with_a_refusal(body: object) -> None:
    """What is not a request never breaks the reader."""
    with pytest.raises(Refusal) as refused:
        read_call_request({"objective": body, "target_number": body, "memo": body})
    assert refused.value.status == 400


@given(st.text())
def test_a_header_that_is_not_base64_json_decodes_to_nothing(header: str) -> None:
    """Garbage in a header is no error, and no object."""
    assert decode_header(header) is None
