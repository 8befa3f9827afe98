"""What a person said before, and whether a price needs their yes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from langchain_oneshot_voice.approval import Reject, Respond
from langchain_oneshot_voice.approval.agreement import (
    approved_price,
    last_refusal_or_edit,
    needs_approval,
)
from langchain_oneshot_voice.journal import AskedQuestion

REQUEST = {"objective": "Ask when they close.", "target_number": "+14155550100"}
YES, NO = {"type": "approve"}, {"type": "reject"}
ONE, TWO, THREE = Decimal(1), Decimal(2), Decimal(3)


def question(number: int, answer: dict[str, Any] | None, **changes: Any) -> AskedQuestion:
    """A question about a call of as many dollars as its number, and one."""
    usual: dict[str, Any] = {
        "question_id": f"{number:032x}",
        "call_key": "k",
        "number": number,
        "thread": "t",
        "namespace": "n",
        "request": REQUEST,
        "offer": {},
        "price": Decimal(number + 1),
        "answer": answer,
        "answered_at": None if answer is None else float(number),
    }
    return AskedQuestion(**usual | changes)


@pytest.mark.parametrize(
    ("questions", "price"),
    [
        ([], None),
        ([question(0, None)], None),
        ([question(0, NO)], None),
        ([question(0, YES)], ONE),
        ([question(0, YES), question(1, YES)], TWO),
        ([question(0, YES), question(1, None)], ONE),
        ([question(0, YES, request=REQUEST | {"caller_name": "Rivera"})], None),
    ],
)
def test_yes_is_to_exactly_the_request_that_was_shown(
    questions: list[AskedQuestion], price: Decimal | None
) -> None:
    """The last price that was approved for it; a yes to other words is no yes."""
    assert approved_price(questions, REQUEST) == price


@pytest.mark.parametrize(
    ("questions", "found"),
    [
        ([], None),
        ([question(0, None)], None),
        ([question(0, YES)], None),
        ([question(0, NO)], (0, Reject)),
        ([question(0, NO), question(1, None)], (0, Reject)),
        ([question(0, NO), question(1, YES)], (0, Reject)),
        ([question(0, NO), question(1, {"type": "respond", "message": "Done."})], (1, Respond)),
        (
            [
                question(0, {"type": "respond", "message": "Late."}, answered_at=9.0),
                question(1, NO),
            ],
            (0, Respond),
        ),
    ],
)
def test_last_no_ends_the_call_whatever_else_was_answered(
    questions: list[AskedQuestion], found: tuple[int, type] | None
) -> None:
    """By the time of the answer, not by the number of the question."""
    said = last_refusal_or_edit(questions)
    if found is None:
        assert said is None
    else:
        assert said is not None
        assert (said[0].number, type(said[1])) == found


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, True),
        ({"asks": False}, False),
        ({"approved": TWO}, False),
        ({"approved": THREE}, False),
        ({"approved": ONE}, True),
        ({"require_above": THREE}, False),
        ({"require_above": TWO}, True),
        ({"require_above": ONE, "approved": TWO}, False),
    ],
)
def test_person_is_needed_for_what_they_did_not_agree_to(
    changes: dict[str, Any], *, needed: bool
) -> None:
    """A call of $2, $3 at the most: not asked about twice, nor if it is small enough."""
    usual: dict[str, Any] = {
        "asks": True,
        "total": TWO,
        "worst_case": THREE,
        "approved": None,
        "require_above": None,
    }
    assert needs_approval(**usual | changes) == needed
