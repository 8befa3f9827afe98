"""Exactly once, in whatever order things go wrong: the driver against a model of the service.

A hypothesis state machine. Processes run calls, die, stand still, lose answers and calls, clocks
jump, and time goes by; the journal and the driver are real, time and the service are modelled.
"""

from __future__ import annotations

import asyncio

import anyio.to_thread
import pytest
from chaos.size import EXAMPLES
from chaos.virtual_time import at_once
from chaos.virtual_world import HOUR, End, Plan, Process, Setting, Trouble, World
from full import FULL
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import SecretStr

from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

REQUESTS = {
    "a": VoiceCallInput(objective="Ask for the opening hours.", target_number="+14155550150"),
    "b": VoiceCallInput(objective="Ask for the opening hours.", target_number="+14155550150"),
    "c": VoiceCallInput(objective="Ask for the price of a cake.", target_number="+14155550150"),
}
KEYS = {name: CallKey.of(asked, idempotency_key=name).key for name, asked in REQUESTS.items()}
WALLET = WalletKey(SecretStr("0x" + "11" * 32))
TOKEN = AccessToken(SecretStr("oneshot_" + "0" * 64))
NEVER = 1e12


def drawn(times: int, *troubles: Trouble, fine: int = 1) -> st.SearchStrategy[tuple[Trouble, ...]]:
    """So many troubles; `fine` says how often nothing goes wrong, beside each of these."""
    nothing: tuple[Trouble, ...] = ("fine",)
    return st.tuples(*[st.sampled_from((*nothing * fine, *troubles))] * times)


def plans(*anywhere: Trouble) -> st.SearchStrategy[Plan]:
    """Plans of what goes wrong: at each wire its own troubles, and these at all of them."""
    # An answer that is lost after the deed is what everything here is about: it is drawn most.
    acted: tuple[Trouble, ...] = ("acted",) * 4
    return st.fixed_dictionaries(
        {
            "quote": drawn(1, "lost", "no", *anywhere, fine=12),
            "paid": drawn(3, *acted, "delayed", "lost", "no", "no", "unsent", *anywhere, fine=4),
            "receipts": drawn(3, "lost", "lost", *anywhere, fine=6),
            "feed": drawn(1, *anywhere, fine=8),
            "journal": drawn(8, "acted", "lost", *anywhere, fine=40),
        }
    )


STILL: tuple[Trouble, ...] = ("late", "late after", "asleep", "asleep after", "unheard")
usual = plans("slow", *STILL, "die", "die after", "cancel", "ahead", "back")
names = st.sampled_from(sorted(KEYS))
tempers = st.builds(
    Setting,
    credential=st.sampled_from([WALLET, TOKEN]),
    lease=st.sampled_from([4.0, 4.0, 0.001]),  # the last: every process counts as dead
    duplicate_window=st.sampled_from([CallPolicy().duplicate_window, None]),
    answers_for=st.sampled_from([None, None, 0.0]),
    one_clock=st.booleans(),
    clocks_jump=st.booleans(),
)
# A service that forgets shows its receipts in time; one that does not may never show them.
manners = st.sampled_from([(0.0, False), (0.0, True), (50.0, True), (NEVER, False)])


class CallLife(RuleBasedStateMachine):
    """Calls a and b are the same request under two keys; c is another to the same number."""

    @initialize(temper=tempers, manner=manners)
    def open_shop(self, temper: Setting, manner: tuple[float, bool]) -> None:
        """Build a world."""
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(anyio.to_thread, "run_sync", at_once)
        setting = {name: getattr(temper, name) for name in Setting.__dataclass_fields__}
        self.world = World(
            Setting(**setting | {"receipt_delay": manner[0], "forgetful": manner[1]})
        )

    @rule(name=names, plan=usual)
    def ask(self, name: str, plan: Plan) -> None:
        """A process is asked for a call."""
        self.world.run(self._ask((name, plan)))

    @rule(one=names, other=names, plan=usual, other_plan=usual)
    def ask_two(self, one: str, other: str, plan: Plan, other_plan: Plan) -> None:
        """Two processes are asked at the same moment."""
        self.world.run(self._ask((one, plan), (other, other_plan)))

    @rule(one=names, other=names, plan=usual)
    def ask_one_twice(self, one: str, other: str, plan: Plan) -> None:
        """One process is asked for two calls at the same moment."""
        self.world.run(self._ask((one, plan), (other, None)))

    @rule(plan=usual)
    def recover(self, plan: Plan) -> None:
        """A process finishes what others left."""
        self.world.run(self._recover(plan))

    @rule(seconds=st.sampled_from([1.0, 5.0, 200.0, 400.0, 700.0, 3000.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Heartbeats, authorizations, quotes and calls come to their ends."""
        self.world.run(asyncio.sleep(seconds))

    @rule(hours=st.sampled_from([-1.0, 1.0]))
    def jump(self, hours: float) -> None:
        """Somebody sets the clock of the machine."""
        if self.world.setting.clocks_jump:
            self.world.jump(self.world.machine, hours * HOUR)

    @invariant()
    def no_key_is_paid_twice(self) -> None:
        """What it is all about."""
        if hasattr(self, "world"):
            assert self.world.paid_twice() == []

    @invariant()
    def nothing_that_should_have_answered_begins_again(self) -> None:
        """An end that was recorded after a run began answers that run."""
        if hasattr(self, "world"):
            assert self.world.database.paid_anew == []

    @invariant()
    def a_new_call_is_not_taken_for_an_old_one(self) -> None:
        """A key may be asked for anew; the outcome is the new call's, if the time is right."""
        if hasattr(self, "world") and not self.world.farthest:
            assert self.world.stale == []

    @invariant()
    def nobody_says_that_nothing_was_charged_when_it_was(self) -> None:
        """Not before the payment arrives, and not after."""
        if hasattr(self, "world"):
            assert self.world.lies == []

    @invariant()
    def no_number_rings_while_it_is_on_a_call(self) -> None:
        """Whatever the key and the words. Who has lost the time can't keep this."""
        if hasattr(self, "world") and not self.world.farthest:
            assert self.world.service.overlaps == []

    def teardown(self) -> None:
        """When all is well again, every call that was paid for tells its outcome."""
        if not hasattr(self, "world"):
            return
        try:
            self.world.machine.ahead = 0.0
            self.world.run(asyncio.sleep(HOUR + self.world.farthest))
            for name, key in KEYS.items():
                end = self.world.run(self.world.ask_finally(key, REQUESTS[name]))
                assert self._is_due(name, end), (name, end)
            self.no_key_is_paid_twice()
            self.nothing_that_should_have_answered_begins_again()
            self.nobody_says_that_nothing_was_charged_when_it_was()
            self.no_number_rings_while_it_is_on_a_call()
        finally:
            self.patched.undo()
            self.world.close()

    def _is_due(self, name: str, end: End) -> bool:
        """A completed call that was paid for, or the honest word that nobody can know."""
        paid = self.world.service.times_paid()[KEYS[name]]
        if isinstance(end, VoiceCallResult):
            return end.call_status == "completed" and (paid > 0 or end.reused)
        never_shown = self.world.service.receipt_delay == NEVER
        return never_shown and end is not None and end.code in {"unknown", "number_busy"}

    async def _ask(self, *asked: tuple[str, Plan | None]) -> None:
        """Ask at the same moment, in a process for each plan; two that overlap are one call."""
        processes: list[Process] = []
        for _, plan in asked:
            processes.append(self.world.process(plan) if plan is not None else processes[-1])
        ends = await asyncio.gather(
            *(
                self.world.ask(process, KEYS[name], REQUESTS[name])
                for process, (name, _) in zip(processes, asked, strict=True)
            )
        )
        for process in processes:
            process.exit()
        told = {e.request_id for e in ends if isinstance(e, VoiceCallResult) and e.request_id}
        if len({name for name, _ in asked}) == 1 and self.world.setting.answers_for is None:
            assert len(told) <= 1

    async def _recover(self, plan: Plan) -> None:
        process = self.world.process(plan)
        await self.world.recover(process)
        process.exit()


CallLife.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=10, deadline=None, derandomize=not FULL
)
TestCallLife = CallLife.TestCase
TestCallLife.__doc__ = "No order of faults, deaths, restarts and time pays or rings one key twice."
