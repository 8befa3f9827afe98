"""Exactly once, though a worker stands still: it wakes, and the call is another worker's.

On virtual time. A process is stopped at each of its steps in turn, before the step is carried out
or before its answer is heard. Meanwhile a second process takes the call and brings it to its end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager

import anyio.to_thread
import pytest
from chaos.virtual_time import at_once
from chaos.virtual_world import ASLEEP, HOUR, End, Plan, Process, Setting, Trouble, Wire, World
from full import FULL
from pydantic import SecretStr

from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.oneshot.wallet import AccessToken, Credential, WalletKey
from langchain_oneshot_voice.schemas import VoiceCallInput

REQUEST = VoiceCallInput(objective="Ask for the opening hours.", target_number="+14155550150")
KEY = CallKey.of(REQUEST, idempotency_key="the one call").key
WALLET = WalletKey(SecretStr("0x" + "11" * 32))
TOKEN = AccessToken(SecretStr("oneshot_" + "0" * 64))

Step = tuple[Wire, int]
"""A wire, and the number of the step among those to it."""

ROADS: dict[str, Plan] = {
    "the usual road": {},
    "a lost answer": {"paid": ("acted",)},
    "a payment that gets lost": {"paid": ("lost",) * 4, "receipts": ("lost", "fine")},
    "a payment that does not leave": {"paid": ("unsent",) * 6},
}
"""What goes wrong besides, so that more steps are taken."""


def steps_of(road: str) -> list[Step]:
    """The steps of a run to which nothing else happens."""
    with pytest.MonkeyPatch.context() as patched, same_pauses(), World(Setting(WALLET)) as world:
        patched.setattr(anyio.to_thread, "run_sync", at_once)
        process = world.process(ROADS[road])
        world.run(world.ask(process, KEY, REQUEST))
        process.exit()
    return [(wire, process.taken[:i].count(wire)) for i, wire in enumerate(process.taken)]


def plan_with(road: str, step: Step, trouble: Trouble) -> Plan:
    """The road's plan, with a trouble at a step."""
    wire, number = step
    troubles = list(ROADS[road].get(wire, ()))
    troubles += ["fine"] * (number + 1 - len(troubles))
    troubles[number] = trouble
    return {**ROADS[road], wire: troubles}


CASES: list[tuple[float, Credential, float | None]] = list(
    itertools.product((10.0, ASLEEP - 10.0), (WALLET, TOKEN), (None, 0.0))
)
"""When the other worker comes, who pays, and for how long an ended call answers its key."""


@pytest.fixture(autouse=True)
def _without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread does not know of the virtual time."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", at_once)


@contextmanager
def same_pauses() -> Iterator[None]:
    """Draw the same pauses as every other run, so that it takes the same steps."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def word_of(end: End) -> str:
    """What a run came to, in a word."""
    return str(getattr(end, "call_status", getattr(end, "code", None)))


def wrong_in(world: World, more: dict[str, bool]) -> str:
    """What there should not be in a world, and is."""
    payments, rings, lies = len(world.service.payments), len(world.service.rings), world.lies
    so = {
        f"{payments} payments": payments == 1,
        f"{rings} rings": rings == 1,
        f"lies: {lies}": lies == [],
    }
    return ", ".join(what for what, holds in (so | more).items() if not holds)


async def asleep_while_another_works(
    world: World, sleeper: Process, comes_after: float
) -> list[End]:
    """Run the call in a process that falls asleep, and in another one that comes meanwhile."""
    sleeping = asyncio.ensure_future(world.ask(sleeper, KEY, REQUEST))
    while not sleeper.wakes_at:
        assert not sleeping.done(), "it did not take this step"
        await asyncio.sleep(0.01)
    await asyncio.sleep(comes_after)
    if world.setting.answers_for == 0 and world.database.dones[KEY]:
        return [await sleeping]  # it had ended: for another run it would be a new call
    other = world.process({})
    second = await world.ask(other, KEY, REQUEST)
    other.exit()
    return [await sleeping, second]


def wrong_after(setting: Setting, plan: Plan, comes_after: float) -> str:
    """What was wrong with a process that slept at a step; empty if nothing."""
    with same_pauses(), World(setting) as world:
        sleeper = world.process(plan)
        ends = world.run(asleep_while_another_works(world, sleeper, comes_after))
        sleeper.exit()
        woke_at = sleeper.wakes_at
        written = [
            name
            for who, name, at in world.database.written
            if who is sleeper.journal and at >= woke_at
        ]
        sent = [who for who, at in world.sent if who is sleeper and at >= woke_at]
        # It had made sure that the call is its own, and fell asleep: the same bytes count once.
        on_its_way = "asleep" in plan.get("paid", ())
        statuses = [word_of(end) for end in ends]
        known = {getattr(end, "request_id", None) for end in ends}
        return wrong_in(
            world,
            {
                f"the ends are {statuses}": set(statuses) == {"completed"} and len(known) == 1,
                f"it wrote {written}": written == [],
                "it sent the payment": sent == [] or on_its_way,
            },
        )


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("trouble", ["asleep", "asleep after"])
def test_a_worker_that_wakes_does_nothing_to_a_call_that_is_another_s(
    road: str, trouble: Trouble
) -> None:
    """At each step: it writes nothing, sends nothing, and has the other worker's result."""
    wrong = {}
    for i, step in enumerate(steps_of(road)):
        if not FULL and i % 2 == (trouble == "asleep"):
            continue  # in the short form the troubles take turns, and so do the circumstances
        for comes_after, credential, answers_for in CASES if FULL else [CASES[i // 2 % len(CASES)]]:
            if answers_for == 0 and (*step, trouble) == ("journal", 0, "asleep"):
                continue  # it did not begin before the other run had ended
            setting = Setting(credential, answers_for=answers_for, wait=2 * ASLEEP)
            what = wrong_after(setting, plan_with(road, step, trouble), comes_after)
            if what:
                wrong[*step, comes_after, answers_for] = what
    assert wrong == {}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("trouble", ["ahead", "back"])
def test_a_clock_that_jumps_an_hour_at_any_step_loses_and_doubles_nothing(
    road: str, trouble: Trouble
) -> None:
    """Another worker comes ten seconds later, and another one when the clock is right again."""
    wrong = {}
    for i, step in enumerate(steps_of(road)):
        if not FULL and i % 2 == (trouble == "ahead"):
            continue  # in the short form the troubles take turns, and so do the payers
        for credential in (WALLET, TOKEN) if FULL else (TOKEN if i % 4 < 2 else WALLET,):
            with same_pauses(), World(Setting(credential, clocks_jump=True)) as world:
                what = wrong_after_a_jump(world, plan_with(road, step, trouble))
            if what:
                wrong[*step, type(credential).__name__] = what
    assert wrong == {}


def wrong_after_a_jump(world: World, plan: Plan) -> str:
    """What was wrong when a clock jumped at a step; empty if nothing."""

    async def later(process: Process) -> End:
        await asyncio.sleep(10.0)
        return await world.ask(process, KEY, REQUEST)

    async def both() -> None:
        processes = [world.process(plan), world.process({})]
        await asyncio.gather(world.ask(processes[0], KEY, REQUEST), later(processes[1]))
        for process in processes:
            process.exit()
        world.machine.ahead = 0.0
        await asyncio.sleep(2 * HOUR)

    world.run(both())
    end = world.run(world.ask_finally(KEY, REQUEST))
    return wrong_in(world, {f"the end is {word_of(end)}": word_of(end) == "completed"})


@pytest.mark.parametrize("failure", ["lost", "acted"])
def test_a_recovery_whose_journal_fails_does_not_say_that_nothing_was_charged(
    failure: Trouble,
) -> None:
    """The call was paid by a worker that died, and the receipts don't show it."""
    for fine in range(6):
        with World(Setting(WALLET, receipt_delay=float("inf"))) as world:
            world.run(world.ask(world.process({"paid": ("die after",)}), KEY, REQUEST))
            world.run(asyncio.sleep(10.0))
            usual: list[Trouble] = ["fine"] * fine
            process = world.process({"journal": [*usual, failure]})
            world.run(world.recover(process))
            process.exit()
            assert (fine, len(world.service.payments), world.lies) == (fine, 1, [])


@pytest.mark.parametrize("credential", [WALLET, TOKEN], ids=["wallet", "token"])
def test_a_clock_that_is_ahead_does_not_make_a_payment_worthless_that_is_on_its_way(
    credential: Credential,
) -> None:
    """It is refused once more before it arrives; by the service's clock it is still good."""
    plan: Plan = {"paid": ("delayed", "no", "no", "no"), "receipts": ("ahead",)}
    with same_pauses(), World(Setting(credential, clocks_jump=True)) as world:
        process = world.process(plan)
        world.run(world.ask(process, KEY, REQUEST))
        process.exit()
        world.machine.ahead = 0.0
        world.run(asyncio.sleep(HOUR))
        assert wrong_in(world, {}) == ""


def test_a_clock_that_was_ahead_before_does_not_make_a_payment_worthless_either() -> None:
    """The quote seems to have expired when it comes; the service's own clock says that it has not.

    A run, and a recovery by another process, while the payment is on its way.
    """
    plan: Plan = {"paid": ("delayed", "no", "no", "no")}
    with same_pauses(), World(Setting(TOKEN, clocks_jump=True, wait=30.0)) as world:
        world.jump(world.machine, HOUR)
        first, second = world.process(plan), world.process({"paid": ("no", "no", "no")})
        world.run(world.ask(first, KEY, REQUEST))
        first.exit()
        world.run(world.recover(second))
        second.exit()
        world.machine.ahead = 0.0
        world.run(asyncio.sleep(2 * HOUR))
        assert wrong_in(world, {}) == ""


@pytest.mark.parametrize("credential", [WALLET, TOKEN], ids=["wallet", "token"])
def test_a_payment_that_can_still_be_charged_is_not_given_up(credential: Credential) -> None:
    """It is refused again and again while it is on its way, and arrives just before it lapses."""
    lapses = 300.0 if credential is WALLET else 600.0
    with same_pauses(), World(Setting(credential, wait=2 * lapses)) as world:
        world.run(world.ask(world.process({"paid": ("die",)}), KEY, REQUEST))
        world.run(asyncio.sleep(lapses - 95.0))
        process = world.process({"paid": ("delayed", *("no",) * 1000)})
        end = world.run(world.ask(process, KEY, REQUEST))
        process.exit()
        assert wrong_in(world, {f"the end is {word_of(end)}": word_of(end) == "completed"}) == ""


def test_a_recovery_waits_for_the_receipt_of_a_payment_that_was_used() -> None:
    """The worker died after it had paid; the service says so, and shows the receipt later."""
    with same_pauses(), World(Setting(WALLET, receipt_delay=50.0)) as world:
        world.run(world.ask(world.process({"paid": ("die after",)}), KEY, REQUEST))
        world.run(asyncio.sleep(10.0))
        process = world.process({})
        world.run(world.recover(process))
        process.exit()
        assert wrong_in(world, {"it has no end": world.database.dones[KEY] == 1}) == ""
