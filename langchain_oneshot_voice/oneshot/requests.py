"""The body and the headers of a call's request.

The client gives each call a goal id. Both legs send it and the service keeps it with the receipt,
so a call can be found again if the answer to its payment was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from langchain_oneshot_voice.oneshot.reading import fields
from langchain_oneshot_voice.schemas import VoiceCallInput


def request_body(request: VoiceCallInput, goal: str) -> dict[str, Any]:
    """Return the JSON body that both legs send."""
    body: dict[str, Any] = request.model_dump(exclude_none=True)
    return body | {"decisionContext": {"goal": "voice_call", "goalId": goal}}


def goal_in(body: Mapping[str, Any]) -> str | None:
    """Return the goal id in a body; `None` if the body was erased."""
    goal = fields(body.get("decisionContext")).get("goalId")
    return goal if isinstance(goal, str) else None


def request_headers(
    goal: str, *, max_cost: Decimal | None = None, approval_id: str | None
) -> dict[str, str]:
    """Return the headers of a request.

    Args:
        goal: the goal id of the call.
        max_cost: the highest price that the service may charge, in US dollars. Send it with the
            payment only: when a quote is too expensive, the client's own error explains more.
        approval_id: the approval at the provider, if the account's rules require one.
    """
    headers = {"Idempotency-Key": goal}
    if max_cost is not None:
        headers["X-Max-Cost-USDC"] = f"{max_cost:f}"
    if approval_id is not None:
        headers["X-Approval-Id"] = approval_id
    return headers
