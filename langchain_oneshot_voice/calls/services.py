"""What the life of a call works with: the service, the journal, the policy, a clock, patience."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from langchain_oneshot_voice.approval import Approval
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.oneshot.client import OneShotClient
from langchain_oneshot_voice.oneshot.feed import ResultFeed
from langchain_oneshot_voice.policy import CallPolicy


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
class Patience:
    """How long to bear with the service, with people and with other workers, in seconds."""

    settle: float = 60.0
    """After a payment has expired, before its absence among the receipts is believed."""
    unsent: float = 20.0
    """How long to try to send a payment that never left this machine."""
    account: float = 300.0
    """How long to wait for an approval that the account's rules ask for."""
    pause: float = 0.25
    """Before looking again at what is not known yet; it grows from here to `longest_pause`."""
    longest_pause: float = 5.0
    at_cancel: float = 3.0
    """Grace period for a payment on its way after its caller is cancelled. Others wait for it."""

    def pauses(self) -> Iterator[float]:
        """Seconds to rest between looks: growing, jittered, without end."""
        pause = self.pause
        while True:
            yield pause * random.uniform(0.7, 1.3)  # noqa: S311 - jitter, not a secret
            pause = min(pause * 1.6, self.longest_pause)


@dataclass(frozen=True, slots=True)
class CallServices:
    """What every call of one caller is made with.

    Attributes:
        client: the service.
        feed: the outcomes of placed calls.
        journal: the record.
        account: the address that pays, in lower case.
        policy: the limits.
        patience: how long to bear with trouble.
        approval: who is asked before a call is paid.
        clock: time.
    """

    client: OneShotClient
    feed: ResultFeed
    journal: CallJournal
    account: str
    policy: CallPolicy
    patience: Patience
    approval: Approval = "never"
    clock: Clock = field(default_factory=SystemClock)


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
