"""A phone for tests of the promises: built from public names, seen through the sandbox's ledger."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from placing import OBJECTIVE, at_any_hour

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallTool

A, B, C = "+14155550111", "+14155550112", "+14155550113"
OTHER = "+14155550119"

APPROVE: dict[str, Any] = {"type": "approve"}
REJECT: dict[str, Any] = {"type": "reject", "message": "Not today."}


def build_tool(sandbox: Sandbox, journal: CallJournal | Path, **changes: Any) -> VoiceCallTool:
    """Build a tool with default timing for the sandbox's wallet; any argument can be replaced."""
    usual: dict[str, Any] = {
        "private_key": sandbox.private_key,
        "base_url": sandbox.base_url,
        "journal": journal,
        "policy": at_any_hour(),
        "max_wait": 10.0,
    }
    return VoiceCallTool(**usual | changes)


def edit_to(number: str, *, name: str = "voice_call", **more: Any) -> dict[str, Any]:
    """Build the decision that replaces a call by one to this number."""
    args = {"objective": OBJECTIVE, "target_number": number} | more
    return {"type": "edit", "edited_action": {"name": name, "args": args}}


def says_that_nobody_rang(text: str) -> bool:
    """Tell whether a text for the model says that an earlier call answered and no phone rang."""
    nobody = re.search("no phone rang|nobody was called", text, re.IGNORECASE)
    return "earlier call" in text and nobody is not None


def rung(sandbox: Sandbox) -> list[str]:
    """List the numbers that rang, sorted."""
    return sorted(ring.number for ring in sandbox.rings)


def times_paid(sandbox: Sandbox) -> int:
    """Count the payments; the two records of one paid partly from credits count once."""
    usdc = sum(payment.kind == "usdc" for payment in sandbox.payments)
    return max(len({payment.request_id for payment in sandbox.payments}), usdc)


def ledger(sandbox: Sandbox) -> tuple[list[str], int]:
    """Return the numbers that rang, sorted, and how often was paid."""
    return rung(sandbox), times_paid(sandbox)
