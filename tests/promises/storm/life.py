"""One process with a graph: it opens its databases, runs turns, and ends or dies."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from placing import FAST, at_any_hour
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from langchain_oneshot_voice import CallJournal, CallPolicy, VoiceCallTool
from langchain_oneshot_voice.engine import ENGINE
from storm.plan import Plan, Turn
from storm.process import SAVER_WRITES, Crash, NodeError, Process, mortal, operations
from storm.shapes import Program, build, outcomes
from storm.world import Scene

FIRST = object()
"""Stands for the graph's first input."""

_LINGER = 0.01
"""Seconds for what `asyncio.gather` has left behind, before the next run of the graph."""

_MOST_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class Paused:
    """The graph asks."""

    questions: list[Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The graph has ended."""

    outcomes: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was cancelled, or it raised."""

    error: Exception | None
    asked: bool
    """Whether anything of the thread is stored; if not, it has to begin again."""


@dataclass(frozen=True, slots=True)
class Died:
    """The process is dead."""


class Life:
    """A process from its start to its end: new objects over the files of the one before."""

    def __init__(self, plan: Plan, scene: Scene, received: list[tuple[str, Any]]) -> None:
        self._plan = plan
        self._scene = scene
        self._process = scene.process = Process()
        self._config: Any = {"configurable": {"thread_id": scene.thread}}
        self.mishap: str | None = None
        """What happened to the last run, if it was not the end of the process."""
        self._turns = 0
        self._closing = ExitStack()
        self._journal = self._open_journal()
        self._runner = asyncio.Runner() if plan.asynchronous else None
        if self._runner is not None:
            self._closing.enter_context(self._runner)
            saver = self._runner.run(self._open_saver_async())
        else:
            saver = self._open_saver()
        tool = self._make_tool()
        program = Program(plan, self._process, tool, received, lambda: self._turns)
        self._graph, self._first = build(program, saver)

    def run(self, given: Any, turn: Turn, number: int) -> Paused | Ended | Stopped | Died:
        """Give the graph its first input, an answer or nothing, and see what it comes back with."""
        self._turns = number
        self._process.arm(turn.trouble)
        self._scene.turn_bad(turn.weather)
        error: Exception | None = None
        came_back: Any = None
        try:
            came_back = self._invoke(self._first if given is FIRST else given)
        except Crash:
            return Died()
        except asyncio.CancelledError:
            if not self._process.cancelled:
                raise
        except NodeError:
            pass  # the plan wants it
        except Exception as raised:  # noqa: BLE001 - the verdict judges it
            error = raised
        if not self._process.alive:
            return Died()
        self.mishap = self._mishap()
        self._process.arm(None)
        if error is not None or came_back is None:
            return self._look(error)
        questions = came_back.get("__interrupt__")
        return Paused(list(questions)) if questions else Ended(outcomes(came_back))

    def _mishap(self) -> str | None:
        if self._process.cancelled:
            return "cancelled runs"
        return "errors of the node" if self._process.failed else None

    def end(self) -> None:
        """End well, or clear away after a death."""
        if not self._process.alive:
            self._scene.leave_journal()
        self._closing.close()
        ENGINE.call(CallJournal.aclose, self._journal)

    def _look(self, error: Exception | None) -> Ended | Stopped:
        """See where the thread stands after a run that came back with nothing."""
        state = self._state()
        if error is None and state.created_at is not None and not state.tasks:
            return Ended(outcomes(state.values))
        return Stopped(error, asked=state.created_at is not None)

    def stands(self) -> Ended | Stopped:
        """Where the thread stands when a new process takes over."""
        return self._look(None)

    def _invoke(self, given: Any) -> Any:
        durability = self._plan.durability
        if self._runner is None:
            return self._graph.invoke(given, self._config, durability=durability)
        loop = self._runner.get_loop()

        async def turn() -> Any:
            running = asyncio.current_task()
            assert running is not None
            self._process.cancel = lambda: _cancel(loop, running)
            try:
                return await self._graph.ainvoke(given, self._config, durability=durability)
            finally:
                self._process.cancel = None

        try:
            return self._runner.run(turn())
        finally:
            self._runner.run(asyncio.sleep(_LINGER if self._plan.seed % 2 else 0))
            self._runner.run(self._reconnect())

    async def _reconnect(self) -> None:
        """Open the saver's connection again: a query that is cancelled closes it."""
        saver: Any = self._graph.checkpointer
        if isinstance(saver, AsyncPostgresSaver) and getattr(saver.conn, "closed", False):
            saver.conn = await AsyncConnection.connect(
                self._scene.world.postgres(),
                autocommit=True,
                prepare_threshold=0,
                row_factory=dict_row,
            )
            self._connections.push_async_callback(saver.conn.close)

    def _state(self) -> Any:
        if self._runner is None:
            return self._graph.get_state(self._config)
        return self._runner.run(self._graph.aget_state(self._config))

    def _open_journal(self) -> Any:
        kind = mortal(CallJournal, self._process, "journal", operations(CallJournal))
        return kind(self._scene.journal_file(), heartbeat=0.05, lease=0.2)

    def _saver_of(self, kind: type[Any]) -> type[Any]:
        return mortal(kind, self._process, "saver", SAVER_WRITES)

    def _in_memory(self) -> Any:
        """A saver over the memory that stands for a database."""
        saver = self._saver_of(InMemorySaver)()
        vars(saver).update(self._scene.shared)
        kept = ("storage", "writes", "blobs")
        self._scene.shared = {name: vars(saver)[name] for name in kept}
        return saver

    def _open_saver(self) -> Any:
        match self._plan.saver:
            case "sqlite":
                file = self._scene.file("graph")
                connection = sqlite3.connect(file, check_same_thread=False)
                self._closing.callback(connection.close)
                return self._saver_of(SqliteSaver)(connection)
            case "postgres":
                opened = self._saver_of(PostgresSaver).from_conn_string(
                    self._scene.world.postgres()
                )
                return self._closing.enter_context(opened)
            case _:
                return self._in_memory()

    async def _open_saver_async(self) -> Any:
        stack = self._connections = AsyncExitStack()
        runner = self._runner
        assert runner is not None
        self._closing.callback(lambda: runner.run(stack.aclose()))
        match self._plan.saver:
            case "sqlite":
                opened = self._saver_of(AsyncSqliteSaver).from_conn_string(
                    str(self._scene.file("graph"))
                )
                return await stack.enter_async_context(opened)
            case "postgres":
                opened = self._saver_of(AsyncPostgresSaver).from_conn_string(
                    self._scene.world.postgres()
                )
                return await stack.enter_async_context(opened)
            case _:
                return self._in_memory()

    def _make_tool(self) -> VoiceCallTool:
        policy = at_any_hour(
            max_cost_per_call=None,
            max_cost_per_day=None,
            max_calls_per_number_per_day=None,
            duplicate_window=CallPolicy().duplicate_window if self._plan.guard else None,
        )
        usual: dict[str, Any] = {
            "base_url": self._scene.sandbox.base_url,
            "journal": self._journal,
            "policy": policy,
            "approval": "interrupt",
            "on_progress": lambda _: self._process.step("progress"),
            "max_wait": _MOST_WAIT,
            "timing": FAST,
        }
        return VoiceCallTool(private_key=self._scene.private_key, **usual)


def _cancel(loop: asyncio.AbstractEventLoop, running: asyncio.Task[Any]) -> None:
    loop.call_soon_threadsafe(running.cancel)
