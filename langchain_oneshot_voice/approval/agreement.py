"""What a person said before, and whether a price needs their yes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice.approval.decisions import Approve, Edit, Reject, Respond, from_store
from langchain_oneshot_voice.journal.records import AskedQuestion


def approved_price(questions: Sequence[AskedQuestion], request: dict[str, Any]) -> Decimal | None:
    """The price that a person last said yes to for exactly this request; `None` for no yes."""
    prices = [
        question.price
        for question in questions
        if question.answer is not None
        and question.answer.get("type") == "approve"
        and question.request == request
    ]
    return prices[-1] if prices else None


def last_no_or_edit(
    questions: Sequence[AskedQuestion],
) -> tuple[AskedQuestion, Edit | Reject | Respond] | None:
    """The last answer about a call that was not a yes, and its question; `None` if there is none.

    It ends the call whenever it comes, also if a newer question is open by then.
    """
    found: tuple[AskedQuestion, Edit | Reject | Respond] | None = None
    for question in sorted(questions, key=lambda question: question.answered_at or 0.0):
        decision = from_store(question.answer) if question.answer is not None else None
        if decision is not None and not isinstance(decision, Approve):
            found = question, decision
    return found


def needs_person(
    *,
    asks: bool,
    total: Decimal,
    worst_case: Decimal,
    approved: Decimal | None,
    require_above: Decimal | None,
) -> bool:
    """Whether to ask a person before this is paid.

    Args:
        asks: whether the application asks people at all.
        total: the quoted price in US dollars.
        worst_case: the most that the call can cost.
        approved: what a person said yes to before.
        require_above: up to this worst case nobody is asked; `None` asks about every call.
    """
    if not asks or (approved is not None and total <= approved):
        return False
    return require_above is None or worst_case > require_above
