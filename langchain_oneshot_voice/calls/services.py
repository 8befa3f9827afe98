"""What the life of a call works with: the service, the journal, the policy, a clock, times."""

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
    """Time, as the life of a call reads and spends it."""

    def time(self) -> float:
        """Epoch seconds."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    async def sleep(self, seconds: float) -> None:
        """Rest."""


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        """Epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Rest on the running event loop."""
        await anyio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class CallServices:
    """What every call of one caller is made with.

    Attributes:
        client: the service.
        feed: the outcomes of placed calls.
        journal: the record.
        account: the address that pays, in lower case.
        policy: the limits.
        timing: how long to bear with trouble.
        approval: who is asked before a call is paid.
        clock: time.
        withdrawal: takes back what is not paid yet, together with other calls.
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


@dataclass(frozen=True, slots=True)
class Asker:
    """Where a person is asked from.

    Attributes:
        thread: the graph's thread; empty outside a graph.
        namespace: the task's checkpoint namespace; empty outside a graph.
        can_pause: whether the graph can be paused.
        in_graph: whether there is a graph at all.
        tool_name: the tool's own name.
        tool_call_id: the tool call that asks for the call, if there is one.
    """

    thread: str = ""
    namespace: str = ""
    can_pause: bool = False
    in_graph: bool = False
    tool_name: str = "voice_call"
    tool_call_id: str | None = None
