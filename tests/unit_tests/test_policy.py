"""Limits that are safe as they come, and that nobody sets by mistake."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from langchain_oneshot_voice import CallPolicy


def test_defaults_limit_money_and_calls() -> None:
    """Without a word from the application a call, a day and a number have their limits."""
    policy = CallPolicy()

    assert (policy.max_cost_per_call, policy.max_cost_per_day) == (Decimal(10), Decimal(50))
    assert policy.max_calls_per_number_per_day == 3


def test_limits_are_exact() -> None:
    """A limit is the decimal number that was written, also when it was written as a float."""
    assert CallPolicy(max_cost_per_call=2.4).max_cost_per_call == Decimal("2.4")


def test_none_turns_a_limit_off() -> None:
    """Every limit can be turned off, and only by saying so."""
    off: dict[str, Any] = dict.fromkeys(
        (
            "max_cost_per_call",
            "max_cost_per_day",
            "max_calls_per_number_per_day",
            "duplicate_window",
        )
    )
    policy = CallPolicy(**off)

    assert {getattr(policy, name) for name in off} == {None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_cost_per_call": 0},
        {"max_cost_per_call": -1},
        {"max_cost_per_call": "NaN"},
        {"max_cost_per_call": "Infinity"},
        {"max_cost_per_call": "0.0000001"},
        {"max_cost_per_day": "free"},
        {"max_calls_per_number_per_day": 0},
        {"max_cost": 3},
    ],
)
def test_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """A limit that is no positive amount, or that does not exist, is an error at once."""
    with pytest.raises(ValidationError):
        CallPolicy(**wrong)


def test_policy_does_not_change() -> None:
    """A policy that was given is not loosened later."""
    with pytest.raises(ValidationError, match="frozen"):
        CallPolicy().max_cost_per_call = Decimal(1000)  # type: ignore[misc]
