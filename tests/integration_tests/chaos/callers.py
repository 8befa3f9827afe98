"""Callers, requests and keys for the proofs of "exactly once"."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from placing import FAST
from pydantic import SecretStr

from langchain_oneshot_voice.call_states import Stage
from langchain_oneshot_voice.caller import VoiceCaller
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.calls.services import CallServices, SystemClock
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.oneshot.wallet import WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressReporter
from langchain_oneshot_voice.sandbox import Sandbox
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

IMPATIENT = replace(FAST, payment_expired=0.2, account_approval=300.0, pause=0.03)
AT_ANY_HOUR = CallPolicy(calling_hours=None)
UNLIMITED = CallPolicy(
    calling_hours=None,
    max_cost_per_call=None,
    max_cost_per_day=None,
    max_calls_per_number_per_day=None,
    duplicate_window=None,
)


class MovedClock(SystemClock):
    """The machine's clock, which somebody has set forwards or back."""

    def __init__(self, *journals: CallJournal) -> None:
        self._ahead = 0.0
        self._journals = journals

    def time(self) -> float:
        """Epoch seconds."""
        return super().time() + self._ahead

    def move(self, seconds: float) -> None:
        """Set the clock, for these journals as well: a file's time is the machine's."""
        self._ahead += seconds
        for journal in self._journals:
            journal._store.clock_offset += seconds


class ToldAtOnce(ProgressReporter):
    """Telling that the call waits for: what a test does at a step is done before the next one."""

    async def report(self, stage: Stage, **news: Any) -> None:
        """Tell, and wait until everybody has heard."""
        await super().report(stage, **news)
        await self.wait_for_listeners(30)


@dataclass(frozen=True, eq=False, repr=False)
class CallerByClock(VoiceCaller):
    """A caller that goes by a clock of its own, and waits for who is told of its progress."""

    clock: SystemClock = field(default_factory=SystemClock)

    def _reporter(self, *about: Any) -> ProgressReporter:
        return ToldAtOnce(about[0], about[1], self.on_progress, about[2])

    async def _services(self, *whose: Any) -> CallServices:
        return replace(await super()._services(*whose), clock=self.clock)


def caller_on(sandbox: Sandbox, journal: Any, **changes: Any) -> VoiceCaller:
    """A caller that is too impatient for real life; any argument can be given instead.

    It waits for `on_progress`.
    """
    usual: dict[str, Any] = {
        "credential": WalletKey(SecretStr(sandbox.private_key)),
        "base_url": sandbox.base_url,
        "journal": journal,
        "policy": AT_ANY_HOUR,
        "max_wait": 20.0,
        "timing": IMPATIENT,
    }
    return CallerByClock(**usual | changes)


def request(
    number: str = "+14155550150", objective: str = "Ask whether the shop is open on Sunday."
) -> VoiceCallInput:
    """A request to call a fictional number."""
    return VoiceCallInput(objective=objective, target_number=number)


def key(name: str = "the one call") -> CallKey:
    """The key of an application's own idempotency key."""
    return CallKey.of(request(), idempotency_key=name)


def end_of(
    caller: VoiceCaller, asked: VoiceCallInput, call_key: CallKey | None
) -> VoiceCallResult | VoiceCallError:
    """What a call came to, be it a result or an error."""
    try:
        return caller.call(asked, call_key=call_key)
    except VoiceCallError as error:
        return error
