"""Pausing a LangGraph graph with a question, and hearing the answers it is resumed with.

A question is not asked with `interrupt()`: LangGraph matches those answers by counting questions,
and a call that has finished, or runs in another thread, shifts the count. It is asked by raising
`GraphInterrupt` with an id of its own, so that the numbers of the user's interrupts never move.

An answer by id is exact. A bare answer (`Command(resume=value)`) has no address, and LangGraph
gives an old one again, so it counts only if the checkpoint has exactly one question open, that
question is ours, and no older bare answer can be meant. What can't be told apart is asked again.

LangGraph keeps a bare answer with the root's checkpoint. Once it is heard it is cleared there, with
the checkpointer's public `put_writes`, so that no later question gets it. The checkpointer is used
in the thread, or on the loop, of the caller: many are bound to it. Each step here is written once:
a `Side` (see `caller_side.py`) carries it out, sync or async.
"""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from langchain_oneshot_voice.approval.decisions import (
    Unreadable,
    decision_schema,
    read_decision,
    stored,
)
from langchain_oneshot_voice.approval.questions import Question
from langchain_oneshot_voice.caller_side import Side
from langchain_oneshot_voice.graph_task import (
    CHECKPOINT_MAP,
    CHECKPOINTER,
    DURABILITY,
    PRIVATE_NAMES,
    RESUME_MAP,
    SCRATCHPAD,
    GraphTask,
)
from langchain_oneshot_voice.journal import AskedQuestion, CallJournal

log = logging.getLogger(__name__)

# LangGraph's names for what it stores beside a checkpoint.
_NULL_TASK = "00000000-0000-0000-0000-000000000000"
_RESUME = "__resume__"
_INTERRUPT = "__interrupt__"
_NOT_AN_OUTPUT = {_RESUME, _INTERRUPT, "__error__", "__error_source_node__"}

_LOOKS, _BETWEEN_LOOKS = 250, 0.004
"""Looks, and seconds between them, for a bare answer that LangGraph stores in the background."""

_QUESTION_ID = re.compile(r"[0-9a-f]{32}")


def missing_private_name(configurable: Mapping[str, Any]) -> str | None:
    """The first of LangGraph's private names that bare answers need and that is not there."""
    for name in PRIVATE_NAMES:
        if configurable.get(name) is None:
            return name
    if not hasattr(configurable[SCRATCHPAD], "get_null_resume"):
        return f"{SCRATCHPAD}.get_null_resume"
    return None if "" in configurable[CHECKPOINT_MAP] else f"{CHECKPOINT_MAP}['']"


def can_pause(task: GraphTask | None) -> bool:
    """Whether the graph can be paused and resumed: it has a checkpointer and a thread."""
    return (
        task is not None
        and task.thread is not None
        and task.configurable.get(CHECKPOINTER) is not None
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the root's checkpoint holds: a bare answer, and the ids of the open questions."""

    bare: Any
    open_questions: tuple[str, ...]


class GraphPause:
    """The paused graph around one tool call.

    Args:
        task: where the tool call runs; its graph can be paused (`can_pause`).
        journal: where questions and answers are kept.
        side: carries out each step for a sync or an async caller.
        tool_name: the tool's own name, for edits.
    """

    def __init__(self, task: GraphTask, journal: CallJournal, side: Side, tool_name: str) -> None:
        configurable = task.configurable
        self._journal = journal
        self._side = side
        self._tool_name = tool_name
        self._thread = task.thread or ""
        self._saver: Any = configurable[CHECKPOINTER]
        self._by_id: Mapping[str, Any] | None = configurable.get(RESUME_MAP)
        self._moved = missing_private_name(configurable)
        if self._moved is not None:
            log.warning("bare answers are refused: LangGraph has no %s any more", self._moved)
            return
        self._null_resume: Any = configurable[SCRATCHPAD].get_null_resume
        # With durability "exit" LangGraph stores nothing while the graph runs.
        self._stores = configurable.get(DURABILITY, "async") != "exit"
        root = {
            "thread_id": configurable["thread_id"],
            "checkpoint_ns": "",
            "checkpoint_id": configurable[CHECKPOINT_MAP][""],
        }
        self._root = {"configurable": root}

    async def hear(self) -> None:
        """Record every answer that this run brings to any question of ours in the thread.

        Another call's run may come first to the answer of this call's question, so each run
        records all of them.
        """
        if self._by_id is not None:
            given = {key: value for key, value in self._by_id.items() if _is_id(key)}
            asked = await self._side.run(self._journal.questions_of, tuple(given), self._thread)
            for question in asked:
                await self._record(question, given[question.question_id])
        elif self._moved is None and self._null_resume(False) is not None:  # noqa: FBT003 - theirs
            await self._hear_bare()

    async def ask(self, *questions: tuple[AskedQuestion, Question]) -> NoReturn:
        """Pause the graph with these questions, each of which is answered by itself.

        Raises:
            GraphInterrupt: always. The graph goes on when it is resumed with an answer.
        """
        from langgraph.errors import GraphInterrupt  # noqa: PLC0415 - an optional extra

        raise GraphInterrupt(tuple([await self._interrupt(*question) for question in questions]))

    async def _interrupt(self, asked: AskedQuestion, question: Question) -> Any:  # noqa: ANN401 - LangGraph's
        from langgraph.types import Interrupt  # noqa: PLC0415 - an optional extra

        bare_ok = await self._void_bare()
        await self._side.run(self._note, asked.question_id, bare_ok)
        if not bare_ok and question.note is None:
            question = replace(question, note=_by_id(question.question_id))
        schema = decision_schema(question.tool_name)
        return Interrupt(question.value(), id=question.question_id, response_schema=schema)

    async def _note(self, question_id: str, bare_ok: bool) -> None:
        await self._journal.note(question_id, bare_ok=bare_ok)

    async def _record(self, question: AskedQuestion, answer: object) -> None:
        if question.answer is not None:  # the first answer stands
            return
        name, decision = (
            question.question_id,
            read_decision(answer, tool_name=self._tool_name, question_id=question.question_id),
        )
        if isinstance(decision, Unreadable):
            await self._side.run(self._say, name, decision.note(name))
        else:
            await self._side.run(self._journal.answer, name, stored(decision))

    async def _say(self, question_id: str, why: str) -> None:
        await self._journal.note(question_id, note=why)

    async def _hear_bare(self) -> None:
        """Take the bare answer of this run, if it can only be meant for a question of ours."""
        found = await self._stored()
        if found is None or len(found.open_questions) != 1:
            return
        [open_id] = found.open_questions
        asked = await self._side.run(self._journal.questions_of, (open_id,), self._thread)
        if not asked:
            return  # the open question is the user's own
        with _taking(self._thread, open_id) as first:
            value = self._null_resume(True) if first else None  # noqa: FBT003 - LangGraph's
            if value is not None:
                _TAKEN.add(self._null_resume)
                if asked[0].bare_ok:
                    await self._record(asked[0], value)
                else:
                    await self._side.run(self._say, open_id, _asked_again(open_id))
                # After a crash, too, no other question may be given it again.
                await self._void_bare(taken=True)
        while not first and (self._thread, open_id) in _BEING_TAKEN:
            await self._side.sleep(0.002)

    async def _stored(self) -> _Stored | None:
        """What the root's checkpoint holds; `None` if it can't be read here."""
        try:
            found = await self._side.read_checkpoint(self._saver, self._root)
        except Exception as trouble:  # noqa: BLE001 - a saver of the user's, bound to another loop
            log.warning("the checkpoint can't be read here: %s", type(trouble).__name__)
            return None
        writes = (found.pending_writes if found is not None else None) or []
        finished = {
            task
            for task, channel, _ in writes
            if task != _NULL_TASK and channel not in _NOT_AN_OUTPUT
        }
        bare = [v for task, channel, v in writes if (task, channel) == (_NULL_TASK, _RESUME)]
        open_questions = [
            interrupt.id
            for task, channel, value in writes
            if channel == _INTERRUPT and task not in finished
            for interrupt in value
        ]
        return _Stored(bare[0] if bare else None, tuple(dict.fromkeys(open_questions)))

    async def _void_bare(self, *, taken: bool = False) -> bool:
        """Clear the stored bare answer.

        Returns:
            True only if it is sure that no older bare answer is left for a question asked now.
        """
        if self._moved is not None:
            return False
        # A look does not tell whether somebody took it, so another one's answer counts as left.
        left = self._null_resume(False) is not None and self._null_resume not in _TAKEN  # noqa: FBT003
        waits = self._stores and (taken or left)
        for _ in range(_LOOKS if waits else 1):
            found = await self._stored()
            if found is None:
                return False
            if found.bare is not None:
                return await self._clear() and (self._stores or not left)
            if self._stores and self._null_resume in _CLEARED:
                return True  # another call of this task has cleared it meanwhile
            if waits:
                await self._side.sleep(_BETWEEN_LOOKS)
        return not left

    async def _clear(self) -> bool:
        try:
            # LangGraph takes None for "no answer".
            await self._side.write_checkpoint(
                self._saver, self._root, [(_RESUME, None)], _NULL_TASK
            )
        except Exception as trouble:  # noqa: BLE001 - a saver of the user's
            log.warning("an old answer can't be cleared: %s", type(trouble).__name__)
            return False
        found = await self._stored()
        cleared = found is not None and found.bare is None
        if cleared:
            _CLEARED.add(self._null_resume)
        return cleared


_TAKEN: weakref.WeakSet[Any] = weakref.WeakSet()
"""The `get_null_resume` of the tasks in which a call of ours took the bare answer."""

_CLEARED: weakref.WeakSet[Any] = weakref.WeakSet()
"""The `get_null_resume` of the tasks in whose run a stored bare answer was seen and cleared.

LangGraph stores the bare answer of a run once, so it does not come back in that run.
"""

_BEING_TAKEN: set[tuple[str, str]] = set()
"""Questions whose bare answer some call of this process is recording at this moment."""

_TAKING_LOCK = threading.Lock()


class _taking:  # noqa: N801 - a context manager
    """True for the one who takes the bare answer; the others wait until it is recorded."""

    def __init__(self, thread: str, question_id: str) -> None:
        self._name = (thread, question_id)
        self._first = False

    def __enter__(self) -> bool:
        with _TAKING_LOCK:
            self._first = self._name not in _BEING_TAKEN
            if self._first:
                _BEING_TAKEN.add(self._name)
        return self._first

    def __exit__(self, *_: object) -> None:
        if self._first:
            _BEING_TAKEN.discard(self._name)


def _by_id(question_id: str) -> str:
    return f"Answer it by its id: Command(resume={{'{question_id}': {{'type': 'approve'}}}})."


def _asked_again(question_id: str) -> str:
    return f"The last answer did not say which question it was for. {_by_id(question_id)}"


def _is_id(name: object) -> bool:
    return isinstance(name, str) and _QUESTION_ID.fullmatch(name) is not None
