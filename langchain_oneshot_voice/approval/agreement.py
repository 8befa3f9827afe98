"""Evaluates a person's earlier answers, and decides whether a price needs approval."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice.approval.decisions import Approve, Edit, Reject, Respond, from_store
from langchain_oneshot_voice.journal.records import AskedQuestion


def approved_price(questions: Sequence[AskedQuestion], request: dict[str, Any]) -> Decimal | None:
    """Return the price that a person last approved for exactly this request; `None` if none."""
    prices = [
        question.price
        for question in questions
        if question.answer is not None
        and question.answer.get("type") == "approve"
        and question.request == request
    ]
    return prices[-1] if prices else None


def last_refusal_or_edit(
    questions: Sequence[AskedQuestion],
) -> tuple[AskedQuestion, Edit | Reject | Respond] | None:
    """Return the latest rejection, response or edit, and its question; `None` if there is none.

    Such an answer ends the call even if it comes late and a newer question is open.
    """
    latest: tuple[AskedQuestion, Edit | Reject | Respond] | None = None
    for question in sorted(questions, key=lambda question: question.answered_at or 0.0):
        decision = from_store(question.answer) if question.answer is not None else None
        if decision is not None and not isinstance(decision, Approve):
            latest = question, decision
    return latest


def needs_approval(
    *,
    asks: bool,
    total: Decimal,
    worst_case: Decimal,
    approved: Decimal | None,
    require_above: Decimal | None,
) -> bool:
    """Return whether a person must approve the call before it is paid.

    Args:
        asks: true if the application asks persons at all.
        total: the quoted price in US dollars.
        worst_case: the highest possible cost in US dollars.
        approved: the price that a person approved before, in US dollars.
        require_above: ask only if the worst case is above this amount in US dollars; `None` asks
            about every call.
    """
    if not asks or (approved is not None and total <= approved):
        return False
    return require_above is None or worst_case > require_above
