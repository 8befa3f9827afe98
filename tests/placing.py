"""How tests place calls: the words they use, and a client that is too impatient for real life.

Shared by every test that talks to a sandbox. The fixtures that use it stand in `conftest.py`.
"""

from __future__ import annotations

from typing import Any

from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.sandbox import Sandbox
from langchain_oneshot_voice.sandbox.records import Exchange
from langchain_oneshot_voice.timing import Timing

NUMBER = "+14155550100"
OBJECTIVE = "Book a table for 2 tonight at 7pm under the name Rivera."


def at_any_hour(**limits: Any) -> CallPolicy:
    """A policy for tests, which run at any hour; nobody sleeps in the sandbox."""
    return CallPolicy(calling_hours=None, **limits)


FAST = Timing(
    connect=2.0,
    quote=3.0,
    payment=3.0,
    answer=0.5,
    first_poll=0.05,
    slowest_poll=0.2,
    socket_open=1.0,
    socket_first_news=0.3,
    socket_silence=0.6,
    payment_unsent=0.4,
    payment_cancelled=2.0,
    payment_expired=1.0,
    account_approval=0.5,
    pause=0.05,
    longest_pause=0.2,
)


def arguments(number: str | list[str] = NUMBER, **more: Any) -> dict[str, Any]:
    """The arguments of a call."""
    return {"objective": OBJECTIVE, "target_number": number} | more


def tool_call(call_id: str = "call-1", **args: Any) -> dict[str, Any]:
    """A tool call as a model would make it."""
    return {"name": "voice_call", "args": args or arguments(), "id": call_id, "type": "tool_call"}


def legs(sandbox: Sandbox, leg: str) -> list[Exchange]:
    """The requests of one leg that the sandbox has seen."""
    return [request for request in sandbox.requests if request.leg == leg]


def signatures(sandbox: Sandbox) -> list[str]:
    """Every payment header that was ever received, accepted or not."""
    found = [request.headers.get("payment-signature") for request in sandbox.requests]
    return [header for header in found if header is not None]
