"""A world in which time is virtual and everything can fail: for the state machine.

The driver and the journal are the real ones. Around them: processes that stand still and die,
clocks that jump, and a model of the service that keeps its own books. Every step outward (to the
service or to the journal) first asks the plan of its process what is to go wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Self, TypeVar, cast

from chaos.callers import UNLIMITED
from chaos.virtual_journal import Database, VirtualJournal
from chaos.virtual_service import BASE_URL, Service
from chaos.virtual_time import VirtualClock, VirtualLoop
from langchain_oneshot_voice.calls.driver import CallDriver
from langchain_oneshot_voice.calls.services import CallServices
from langchain_oneshot_voice.errors import (
    CallRefusedError,
    ServiceUnavailableError,
    VoiceCallError,
)
from langchain_oneshot_voice.journal import JournalUnavailableError
from langchain_oneshot_voice.oneshot.answers import Job, Placement
from langchain_oneshot_voice.oneshot.client import (
    Offer,
    PlacementUnansweredError,
)
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.rate_limit import RateLimit
from langchain_oneshot_voice.oneshot.transport import NoVerdictError
from langchain_oneshot_voice.oneshot.wallet import AccessToken, Credential, WalletKey
from langchain_oneshot_voice.progress import ProgressReporter
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallResult
from langchain_oneshot_voice.timing import Timing

T = TypeVar("T")

HOUR = 3600.0
ASLEEP = 700.0
_SLOW, _LATE, _UNHEARD, _DELAYED = 45.0, 20.0, 100.0, 90.0

Trouble = Literal[
    "fine",
    "lost",
    "acted",
    "delayed",
    "unsent",
    "no",
    "slow",
    "late",
    "late after",
    "asleep",
    "asleep after",
    "unheard",
    "ahead",
    "back",
    "die",
    "die after",
    "cancel",
]
"""What goes wrong at a step outward.

`lost`: it never arrives. `acted`: it is done, and the answer is lost. `delayed`: the answer is
lost, and it is done a minute and a half later. `unsent`: it surely never left. `no`: refused for
no reason. `slow`: it takes a while, and the heartbeats go on. `late`: the whole process stands
still for longer than its heartbeats may be away, before the step or after it. `asleep`: likewise,
for longer than quotes and payments are valid. `unheard`: the process goes on, and its heartbeats
are not written. `ahead`, `back`: the machine's clock jumps an hour. `die`: the process is gone at
once, before the step or after it. `cancel`: the caller gives up at this moment.
"""

Wire = Literal["quote", "paid", "receipts", "feed", "journal"]
"""What a step goes to. Each has its own troubles, used up in order."""

Plan = Mapping[Wire, Sequence[Trouble]]

End = VoiceCallResult | VoiceCallError | None
"""What a run came to; `None` when nobody heard of its end."""

_RUN: ContextVar[asyncio.Task[Any]] = ContextVar("run")


class Dead(BaseException):
    """The process was killed: nothing of it runs any more, not even its cleaning up."""


@dataclass(frozen=True)
class Setting:
    """What is so in a world from its beginning.

    Attributes:
        credential: who pays.
        receipt_delay: seconds until a receipt shows.
        forgetful: whether the service forgets, once a quote has expired, that it was used.
        heartbeat: seconds between a process's heartbeats.
        lease: seconds without one after which others take its calls.
        duplicate_window: for which an answered call answers the same request.
        answers_for: seconds for which an ended call answers its key; `None` for ever.
        one_clock: whether the processes and the journal are on one machine.
        clocks_jump: whether clocks jump; else `ahead` and `back` mean nothing.
        wait: seconds for which a run waits.
    """

    credential: Credential
    receipt_delay: float = 0.0
    forgetful: bool = False
    heartbeat: float = 1.0
    lease: float = 4.0
    duplicate_window: timedelta | None = None
    answers_for: float | None = None
    one_clock: bool = True
    clocks_jump: bool = False
    wait: float = 420.0


class World:
    """One service, one database, and the processes that share them.

    Attributes:
        stale: keys of runs that were to make a new call, and told of an old one.
        lies: times when somebody said that nothing was charged, and something was.
        sent: the process and the moment of each payment that was presented.
        senders: the runs that presented one.
        denied: when it was last said that nothing was charged, by call key.
        farthest: seconds by which a clock was wrong at the most.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.loop = VirtualLoop()
        self.machine = VirtualClock(self.loop)
        self.service = Service(
            VirtualClock(self.loop),
            setting.receipt_delay,
            setting.forgetful,
            key_of=lambda goal_id: self.database.keys[goal_id],
        )
        self.database = Database(
            self.machine,
            anew=setting.answers_for is not None,
            paid=lambda: len(self.service.payments),
        )
        self.stale: list[str] = []
        self.lies: list[str] = []
        self.sent: list[tuple[Process, float]] = []
        self.senders: set[asyncio.Task[Any]] = set()
        self.denied: dict[str, float] = {}
        self.farthest = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything."""
        self.database.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let time pass until this is done."""
        return self.loop.run_until_complete(work)

    def jump(self, clock: VirtualClock, seconds: float) -> None:
        """Set a clock forwards or back, never further than an hour from the right time."""
        clock.ahead = max(-HOUR, min(HOUR, clock.ahead + seconds))
        self.farthest = max(self.farthest, abs(clock.ahead))

    def paid_twice(self) -> list[str]:
        """Keys with more payments than calls: one, and one for each end that was to be asked anew.

        A key that no old end answers may be paid again once its call has ended.
        """
        anew, dones = self.setting.answers_for is not None, self.database.dones
        paid = self.service.times_paid().items()
        return [key for key, times in paid if times > 1 + (dones[key] if anew else 0)]

    def process(self, plan: Plan) -> Process:
        """A new process, with what will go wrong in it."""
        return Process(self, plan)

    async def ask(self, process: Process, key: str, request: VoiceCallInput) -> End:
        """Run a call in a process, and tell what it came to."""
        driver = process.driver(key, self.setting.answers_for)
        old = frozenset(self.database.ended if self.setting.answers_for is not None else ())
        end = await self._end_of(key, driver, driver.run(request))
        if isinstance(end, VoiceCallResult) and end.request_id in old and not end.reused:
            self.stale.append(key)
        return end

    async def ask_finally(self, key: str, request: VoiceCallInput) -> End:
        """Ask what became of a key, in a process in which nothing goes wrong."""
        process = self.process({})
        driver = process.driver(key, None)
        end = await self._end_of(key, driver, driver.run(request))
        process.exit()
        return end

    async def recover(self, process: Process) -> None:
        """Finish what others left."""
        for left in await process.journal.unfinished():
            driver = process.driver(left.call_key, None)
            await self._end_of(left.call_key, driver, driver.finish())

    async def _end_of(self, key: str, driver: CallDriver, work: Awaitable[Any]) -> End:
        async def run() -> Any:
            _RUN.set(cast("asyncio.Task[Any]", asyncio.current_task()))
            return await work

        anew = self.setting.answers_for is not None
        settled = self.database.dones[key] if anew else 0
        task = self.loop.create_task(run())
        try:
            end: End = await task
        except VoiceCallError as error:
            if error.charged == "no":
                self._hear_no(key, driver, error.code, settled)
            return error
        except JournalUnavailableError:
            if task in self.senders:  # it says that this run paid nothing
                self._hear_no(key, driver, "journal_unavailable", settled)
        except (Dead, asyncio.CancelledError):
            pass
        else:
            return end
        return None

    def _hear_no(self, key: str, driver: CallDriver, code: str, settled: int) -> None:
        """Hold a run to its word that nothing was charged, as of when it put that on record."""
        now = len(self.service.payments), self.loop.time()
        payments, self.denied[key] = self.database.refused.get(driver._run.owner, now)
        if self.service.payments[:payments].count(key) > settled:
            self.lies.append(f"{key}: {code}")


class Process:
    """One process: its plan of troubles, its journal, and its ends of the wires.

    Attributes:
        taken: every step that it took.
    """

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.taken: list[Wire] = []
        self._plan: dict[Wire, Iterator[Trouble]] = {w: iter(t) for w, t in plan.items()}
        self._dead = False
        self._thaws_at = self._heard_at = 0.0
        setting = world.setting
        self.clock = world.machine if setting.one_clock else VirtualClock(world.loop)
        self.journal = VirtualJournal(
            world.database, heartbeat=setting.heartbeat, lease=setting.lease
        )
        self._beating = world.loop.create_task(self._beat())

    def driver(self, key: str, answers_for: float | None) -> CallDriver:
        """One run of a call in this process."""
        setting = self.world.setting
        services = CallServices(
            client=cast("Any", Client(self)),
            feed=cast("Any", Feed(self)),
            journal=cast("Any", Hands(self)),
            account="0x" + "cd" * 20,
            policy=UNLIMITED.model_copy(update={"duplicate_window": setting.duplicate_window}),
            timing=Timing(),
            clock=self.clock,
        )
        teller = ProgressReporter(key, (), None, None)
        return CallDriver(services, key, teller, setting.wait, answers_for=answers_for)

    @property
    def wakes_at(self) -> float:
        """When it goes on; 0 if it never stood still."""
        return self._thaws_at

    def exit(self) -> None:
        """End the process: it writes no more heartbeats."""
        self._beating.cancel()

    async def step(self, wire: Wire, act: Callable[[Trouble], Awaitable[T]]) -> T:
        """Take one step outward. What its plan has for it is up to `act`, or to time and death."""
        await self._thawed()
        self.taken.append(wire)
        loop = self.world.loop
        trouble: Trouble = next(self._plan.get(wire, iter(())), "fine")
        match trouble:
            case "late" | "asleep":
                await self._stand_still(trouble)
            case "slow":
                await asyncio.sleep(_SLOW)
            case "unheard":
                self._heard_at = loop.time() + _UNHEARD
            case "ahead" | "back" if self.world.setting.clocks_jump:
                self.world.jump(self.clock, HOUR if trouble == "ahead" else -HOUR)
            case "cancel":
                loop.call_soon(_RUN.get().cancel)
            case "die":
                self._die()
        answer = await act(trouble)
        match trouble:
            case "late after" | "asleep after":
                await self._stand_still(trouble)
            case "die after":
                self._die()
        await self._thawed()
        return answer

    def later(self, act: Callable[[], Awaitable[Any]]) -> None:
        """Let something arrive when nobody waits for it any more."""
        self.world.loop.call_later(
            _DELAYED, lambda: asyncio.ensure_future(act(), loop=self.world.loop)
        )

    def _die(self) -> None:
        self._dead = True
        self._beating.cancel()
        raise Dead

    async def _stand_still(self, how: Trouble) -> None:
        seconds = ASLEEP if how.startswith("asleep") else _LATE
        self._thaws_at = self.world.loop.time() + seconds
        await self._thawed()

    async def _thawed(self) -> None:
        while self.world.loop.time() < self._thaws_at:  # noqa: ASYNC110 - it can move on
            await asyncio.sleep(self._thaws_at - self.world.loop.time())
        if self._dead:
            raise Dead

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.journal.beats_every)
            await self._thawed()
            if self.world.loop.time() >= self._heard_at:
                self.journal.beat()


class Client:
    """`OneShotClient` for a process, without a wire."""

    def __init__(self, process: Process) -> None:
        self.environment = Environment.at(BASE_URL)
        self.credential: WalletKey | AccessToken = process.world.setting.credential
        self.rate_limit = RateLimit()
        self._world = process.world
        self._service = process.world.service
        self._process = process

    @property
    def service_time(self) -> float:
        """The service's clock, which is right."""
        return self._service.clock.time()

    async def quote(self, body: Mapping[str, Any], _headers: Mapping[str, str], **_: Any) -> Offer:
        """Leg one."""

        async def act(trouble: Trouble) -> Offer:
            if trouble == "no":
                raise CallRefusedError("No.", code="action_denied_by_policy")
            if trouble == "lost":
                raise ServiceUnavailableError("The service is away.")
            return self.read_offer(self._service.quote(body))

        return await self._process.step("quote", act)

    def read_offer(self, source: Mapping[str, Any]) -> Offer:
        """An offer that was received."""
        return Offer.read(source, signs=isinstance(self.credential, WalletKey))

    async def place(
        self,
        body: Mapping[str, Any],
        _headers: Mapping[str, str],
        quote_id: str,
        payment_header: str | None,
        *,
        proved: bool,
    ) -> Placement:
        """Leg two."""
        del proved
        left_at = self._world.loop.time()

        async def arrive() -> Placement:
            placement = self._service.pay(body, quote_id, payment_header)
            key = self._service.payments[-1]
            if self._world.denied.get(key, -1.0) > left_at:
                self._world.lies.append(f"{key}: charged after all")
            return placement

        async def act(trouble: Trouble) -> Placement:
            if trouble == "unsent":
                raise NoVerdictError("no connection", unsent=True)
            self._world.sent.append((self._process, self._world.loop.time()))
            self._world.senders.add(_RUN.get())
            if trouble == "no":
                self._service.refuse(quote_id, payment_header)
            if trouble == "delayed":
                self._process.later(arrive)
            if trouble not in {"lost", "delayed"}:
                placement = await arrive()
            if trouble in {"lost", "delayed", "acted"}:
                raise PlacementUnansweredError("no answer")
            return placement

        return await self._process.step("paid", act)

    async def find_receipt(self, goal_id: str, since: float) -> Placement | None:
        """The list of receipts."""

        async def act(trouble: Trouble) -> Placement | None:
            if trouble == "lost":
                raise NoVerdictError("no list")
            return self._service.receipt_of(goal_id, since)

        return await self._process.step("receipts", act)


@dataclass
class Feed:
    """`ResultFeed` for a process: it waits until the call has ended."""

    process: Process

    async def wait(self, request_id: str, seconds: float, _seen: object) -> Job | None:
        """The finished job, or `None` when the time ran out first."""

        async def act(_: Trouble) -> None:
            return None

        await self.process.step("feed", act)
        service = self.process.world.service
        left = service.end_of(request_id) - service.clock.time()
        await asyncio.sleep(max(0.0, min(left, seconds)))
        if left > seconds:
            return None
        result = {"outcome": "reached_person", "success_evaluation": "pass", "cost": "1.75"}
        raw = {"request_id": request_id, "status": "completed", "result": result}
        return Job("completed", raw)


@dataclass
class Hands:
    """A process's hands on its journal: each operation may fail, before or after it is done."""

    process: Process

    def __getattr__(self, name: str) -> Any:
        journal = self.process.journal
        operation = getattr(journal, name)

        async def do(*args: Any, **named: Any) -> Any:
            async def act(trouble: Trouble) -> Any:
                if trouble == "acted" or trouble == "lost":  # noqa: PLR1714 - for mypy
                    journal.fail_next(trouble)
                return await operation(*args, **named)

            return await self.process.step("journal", act)

        return do
