"""What goes to the service: the body of a call's request, and the headers beside it.

A call has a name of ours at the service, its goal: it goes along with both legs and is kept with
the call's receipt, by which a call is found whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice.oneshot.reading import fields
from langchain_oneshot_voice.schemas import VoiceCallInput


def request_body(request: VoiceCallInput, goal: str) -> dict[str, Any]:
    """The body as it goes on the wire, on both legs."""
    body: dict[str, Any] = request.model_dump(exclude_none=True)
    return body | {"decisionContext": {"goal": "voice_call", "goalId": goal}}


def goal_in(body: Mapping[str, Any]) -> str | None:
    """The goal that a body names; `None` if it has been forgotten."""
    goal = fields(body.get("decisionContext")).get("goalId")
    return goal if isinstance(goal, str) else None


def headers_beside(
    goal: str, *, max_cost: Decimal | None = None, approval_id: str | None
) -> dict[str, str]:
    """The headers beside a request.

    Args:
        goal: the call's name at the service.
        max_cost: the most that the service may ask for, in US dollars. To be sent with a payment;
            a price that is too high is refused with more reasons here than there.
        approval_id: the approval at the provider that the account's rules asked for.
    """
    headers = {"Idempotency-Key": goal}
    if max_cost is not None:
        headers["X-Max-Cost-USDC"] = f"{max_cost:f}"
    if approval_id is not None:
        headers["X-Approval-Id"] = approval_id
    return headers
