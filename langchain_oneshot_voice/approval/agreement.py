"""Whether a price needs a person's yes, given what they said before."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

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
