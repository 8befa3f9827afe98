"""CallServices: the service, journal, policy, clock and timing that all modules here use."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.calls.withdrawal import Withdrawal
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.feed import ResultFeed
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.timing import Timing


class Clock(Protocol):
    """The clock of a call. A test can pass its own."""

    def time(self) -> float:
        """Return the time in epoch seconds."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""

    async def sleep(self, seconds: float) -> None:
        """Sleep for this many seconds."""


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Return the time in epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await anyio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class CallServices:
    """What every call of one caller uses.

    Attributes:
        client: sends requests to the service.
        feed: receives the outcomes of placed calls.
        journal: stores the calls.
        account: the address that pays, in lower case.
        policy: the limits on calls.
        timing: timeouts, polling intervals and leases, in seconds.
        approval: who is asked before a call is paid.
        clock: the source of time.
        withdrawal: cancels this call, and others with it, before they are paid.
    """

    client: OneShotClient
    feed: ResultFeed
    journal: CallJournal
    account: str
    policy: CallPolicy
    timing: Timing
    approval: Approval = "never"
    clock: Clock = field(default_factory=SystemClock)
    withdrawal: Withdrawal = field(default_factory=Withdrawal)


def duplicate_seconds(policy: CallPolicy) -> float:
    """Return the policy's duplicate window in seconds; 0 if it is off."""
    window = policy.duplicate_window
    return window.total_seconds() if window else 0.0


@dataclass(frozen=True, slots=True)
class AskContext:
    """Where in the application a person is asked to approve a call.

    Attributes:
        thread: the graph's thread; empty outside a graph.
        namespace: the task's checkpoint namespace; empty outside a graph.
        can_pause: true if the graph can be paused and resumed.
        in_graph: true inside a graph.
        tool_name: the tool's name.
        tool_call_id: id of the tool call that requested the call; `None` if there is none.
    """

    thread: str = ""
    namespace: str = ""
    can_pause: bool = False
    in_graph: bool = False
    tool_name: str = "voice_call"
    tool_call_id: str | None = None
