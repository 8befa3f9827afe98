"""Exactly once, in whatever order things go wrong: the lifecycle against a model of the service.

A hypothesis state machine. Workers run calls, die, freeze, lose answers and leases, and time goes
by; the journal and the lifecycle are real, time and the service are modelled.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import anyio.to_thread
import pytest
from chaos.callers import UNLIMITED
from chaos.size import EXAMPLES, FULL
from chaos.virtual_world import (
    Client,
    Clock,
    Dead,
    Feed,
    Plan,
    Service,
    Trouble,
    VirtualJournal,
    VirtualLoop,
    Worker,
    WorkerJournal,
    at_once,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pydantic import SecretStr

from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import JournalUnavailableError
from langchain_oneshot_voice.lifecycle import (
    CallRun,
    Lines,
    Patience,
    agreement,
    call_run,
    settlement,
)
from langchain_oneshot_voice.oneshot.wallet import AccessToken, Credential, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import ProgressTeller
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult

REQUESTS = {
    "a": VoiceCallInput(objective="Ask for the opening hours.", target_number="+14155550150"),
    "b": VoiceCallInput(objective="Ask for the opening hours.", target_number="+14155550150"),
    "c": VoiceCallInput(objective="Ask for the price of a cake.", target_number="+14155550150"),
}
KEYS = {name: CallKey.of(request, idempotency_key=name) for name, request in REQUESTS.items()}
WALLET = WalletKey(SecretStr("0x" + "11" * 32))
TOKEN = AccessToken(SecretStr("oneshot_" + "0" * 64))
POLICY = UNLIMITED.model_copy(update={"duplicate_window": CallPolicy().duplicate_window})
NEVER = 1e12


def drawn(times: int, *troubles: Trouble, fine: int = 1) -> st.SearchStrategy[tuple[Trouble, ...]]:
    """So many troubles; `fine` says how often nothing goes wrong, beside each of these."""
    nothing: tuple[Trouble, ...] = ("fine",)
    return st.tuples(*[st.sampled_from((*nothing * fine, *troubles))] * times)


ANYWHERE: tuple[Trouble, ...] = ("slow", "freeze", "die", "cancel")
LOST: tuple[Trouble, ...] = ("acted",)
# An answer that is lost after the deed is what everything here is about: it is drawn most often.
plans: st.SearchStrategy[Plan] = st.fixed_dictionaries(
    {
        "quote": drawn(1, "lost", "no", *ANYWHERE, fine=12),
        "paid": drawn(3, *LOST * 4, "late", "lost", "no", "no", "unsent", *ANYWHERE, fine=3),
        "receipts": drawn(3, "lost", "lost", *ANYWHERE, fine=4),
        "feed": drawn(1, *ANYWHERE, fine=8),
        "journal": drawn(8, "acted", "lost", *ANYWHERE, fine=40),
    }
)
names = st.sampled_from(sorted(KEYS))

End = VoiceCallResult | VoiceCallError | None


class CallLife(RuleBasedStateMachine):
    """Calls a and b are the same request under two keys; c is another to the same number."""

    @initialize(
        credential=st.sampled_from([WALLET, TOKEN]),
        # A service that forgets shows its receipts in time; one that does not may never show them.
        manners=st.sampled_from([(0.0, False), (0.0, True), (50.0, True), (NEVER, False)]),
    )
    def open_shop(self, credential: Credential, manners: tuple[float, bool]) -> None:
        """Build a world."""
        self.loop = VirtualLoop()
        self.clock = Clock(self.loop)
        self.patched = pytest.MonkeyPatch()
        for module in (agreement, call_run, settlement):
            self.patched.setattr(module, "time", self.clock)
        self.patched.setattr(anyio.to_thread, "run_sync", at_once)
        self.journal = VirtualJournal(self.clock)
        self.service = Service(self.clock, self.loop, *manners)
        self.credential = credential

    @rule(name=names, plan=plans)
    def ask(self, name: str, plan: Plan) -> None:
        """A worker is asked for a call."""
        self.loop.run_until_complete(self._ask(name, plan))

    @rule(one=names, other=names, plan=plans, other_plan=plans)
    def ask_two(self, one: str, other: str, plan: Plan, other_plan: Plan) -> None:
        """Two workers are asked at the same moment."""
        both = asyncio.gather
        self.loop.run_until_complete(self._together(both, (one, plan), (other, other_plan)))

    @rule(plan=plans)
    def recover(self, plan: Plan) -> None:
        """A worker finishes what others left."""
        self.loop.run_until_complete(self._recover(plan))

    @rule(seconds=st.sampled_from([1.0, 35.0, 200.0, 400.0, 700.0, 3000.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Leases, authorizations, quotes and calls come to their ends."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @invariant()
    def no_key_is_paid_twice(self) -> None:
        """What it is all about."""
        if hasattr(self, "service"):
            assert max(self.service.times_paid().values(), default=0) <= 1

    @invariant()
    def no_number_rings_while_it_is_on_a_call(self) -> None:
        """Whatever the key and the words."""
        if hasattr(self, "service"):
            assert self.service.overlaps == []

    def teardown(self) -> None:
        """When all is well again, every call that was paid for tells its outcome."""
        if not hasattr(self, "service"):
            return
        try:
            self.loop.run_until_complete(asyncio.sleep(3000.0))
            for name in KEYS:
                end = self.loop.run_until_complete(self._ask(name, {}))
                assert self._is_due(name, end), (name, end)
            self.no_key_is_paid_twice()
            self.no_number_rings_while_it_is_on_a_call()
        finally:
            self.patched.undo()
            self.journal.drop()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def _is_due(self, name: str, end: End) -> bool:
        """A completed call that was paid once, or the honest word that nobody can know."""
        paid = self.service.times_paid()[KEYS[name].key]
        if isinstance(end, VoiceCallResult):
            return end.call_status == "completed" and (paid == 1 or end.reused)
        never_shown = self.service.receipt_delay == NEVER
        return never_shown and end is not None and end.code in {"unknown", "number_busy"}

    def _run(self, name: str, worker: Worker) -> CallRun:
        lines = Lines(
            client=cast("Any", Client(self.service, worker, self.credential)),
            feed=cast("Any", Feed(self.service, worker)),
            journal=cast("Any", WorkerJournal(self.journal, worker)),
            account="0x" + "cd" * 20,
            policy=POLICY,
            approval="never",
            patience=Patience(),
        )
        key = KEYS.get(name) or CallKey(name)
        return CallRun(lines, key, ProgressTeller(key.key, (), None, None), 420.0)

    async def _ask(self, name: str, plan: Plan) -> End:
        worker = Worker(self.loop, plan)
        run = self._run(name, worker)
        return await self._end_of(worker, KEYS[name].key, run.run(REQUESTS[name]))

    async def _together(self, both: Any, *asked: tuple[str, Plan]) -> None:
        ends = await both(*(self._ask(name, plan) for name, plan in asked))
        told = {e.request_id for e in ends if isinstance(e, VoiceCallResult) and e.request_id}
        if asked[0][0] == asked[1][0]:
            assert len(told) <= 1

    async def _recover(self, plan: Plan) -> None:
        worker = Worker(self.loop, plan)
        for left in await self.journal.unfinished():
            run = self._run(left.call_key, worker)
            await self._end_of(worker, left.call_key, run.finish())

    async def _end_of(self, worker: Worker, call_key: str, work: Any) -> End:
        """What a run comes to. An error that says 'nothing was charged' is held to it."""
        worker.task = self.loop.create_task(work)
        try:
            end: End = await worker.task
        except VoiceCallError as error:
            if error.charged == "no":
                assert self.service.times_paid()[call_key] == 0
            return error
        except (Dead, asyncio.CancelledError, JournalUnavailableError):
            return None
        return end


CallLife.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=10, deadline=None, derandomize=not FULL
)
TestCallLife = CallLife.TestCase
TestCallLife.__doc__ = "No order of faults, deaths, restarts and time pays or rings one key twice."
