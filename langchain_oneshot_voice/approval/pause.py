"""Pauses a LangGraph graph with a question, and records the answers that it is resumed with.

This module does not use `interrupt()`. LangGraph matches the answers of `interrupt()` to questions
by counting, and a call that has finished, or that runs in another thread, changes the count.
Instead, a question raises `GraphInterrupt` with its own id, so the counts of the user's interrupts
stay correct.

An answer by id is exact. A bare answer (`Command(resume=value)`) names no question, and LangGraph
may deliver an old one again. So a bare answer counts only if the checkpoint has exactly one open
question, this question is from this package, and there can be no older bare answer. If it is not
clear which question was answered, the person is asked again.

LangGraph stores a bare answer with the root's checkpoint. After the answer is read, it is cleared
there with the checkpointer's public `put_writes`, so that no later question receives it. Many
checkpointers are bound to the caller's thread or loop and must be used there. Each step is written
once; a `Side` (see `caller_side.py`) executes it, sync or async.
"""

from __future__ import annotations

import logging
import re
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from langchain_oneshot_voice.approval.decisions import (
    Unreadable,
    decision_schema,
    read_decision,
    stored,
)
from langchain_oneshot_voice.approval.questions import Pending
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

_POLLS, _POLL_SECONDS = 250, 0.004
"""Number of polls, and polling interval in seconds, until LangGraph has stored a bare answer.

It stores the answer in the background."""

_QUESTION_ID = re.compile(r"[0-9a-f]{32}")


def missing_private_name(configurable: Mapping[str, Any]) -> str | None:
    """Return the first of LangGraph's private names that is missing; bare answers need them all."""
    for name in PRIVATE_NAMES:
        if configurable.get(name) is None:
            return name
    if not hasattr(configurable[SCRATCHPAD], "get_null_resume"):
        return f"{SCRATCHPAD}.get_null_resume"
    return None if "" in configurable[CHECKPOINT_MAP] else f"{CHECKPOINT_MAP}['']"


def can_pause(task: GraphTask | None) -> bool:
    """Return whether the graph can be paused and resumed: it needs a checkpointer and a thread."""
    return (
        task is not None
        and task.thread is not None
        and task.configurable.get(CHECKPOINTER) is not None
    )


@dataclass(frozen=True, slots=True)
class _CheckpointAnswers:
    """Content of the root's checkpoint: the bare answer, and the ids of the open questions."""

    bare: Any
    open_questions: tuple[str, ...]


class GraphPause:
    """Pauses the graph of one tool call, and reads its answers.

    Args:
        task: the task of the tool call. Its graph must be pausable (`can_pause`).
        journal: stores questions and answers.
        side: executes each step for a sync or an async caller.
        tool_name: the tool's name, to check edits.
    """

    def __init__(self, task: GraphTask, journal: CallJournal, side: Side, tool_name: str) -> None:
        configurable = task.configurable
        self._journal = journal
        self._side = side
        self._tool_name = tool_name
        self._thread = task.thread or ""
        self._saver: Any = configurable[CHECKPOINTER]
        self._answers_by_id: Mapping[str, Any] | None = configurable.get(RESUME_MAP)
        self._missing_name = missing_private_name(configurable)
        if self._missing_name is not None:
            log.warning("bare answers are refused: this LangGraph has no %s", self._missing_name)
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

    async def record_answers(self) -> None:
        """Record every answer in this run to any of the package's questions in the thread.

        LangGraph may run another call's task first, so each task records the answers for all calls.
        """
        if self._answers_by_id is not None:
            given = {key: value for key, value in self._answers_by_id.items() if _is_id(key)}
            asked = await self._side.run(self._journal.questions_of, tuple(given), self._thread)
            for question in asked:
                await self._record(question, given[question.question_id])
        elif self._missing_name is None and self._null_resume(False) is not None:  # noqa: FBT003 - LangGraph's
            await self._record_bare_answer()

    async def ask(self, *pending: Pending) -> NoReturn:
        """Pause the graph with these questions. Each needs its own answer.

        Raises:
            GraphInterrupt: always. The graph continues when it is resumed with an answer.
        """
        from langgraph.errors import GraphInterrupt  # noqa: PLC0415 - an optional extra

        raise GraphInterrupt(tuple([await self._interrupt(one) for one in pending]))

    async def _interrupt(self, pending: Pending) -> Any:  # noqa: ANN401 - LangGraph's
        from langgraph.types import Interrupt  # noqa: PLC0415 - an optional extra

        bare_ok = await self._clear_bare_answer()
        question = pending.question
        note = partial(self._journal.note, question.question_id, bare_ok=bare_ok)
        await self._side.run(note)
        if not bare_ok and question.note is None:
            question = replace(question, note=_how_to_answer(question.question_id))
        schema = decision_schema(question.tool_name)
        return Interrupt(question.value(), id=question.question_id, response_schema=schema)

    async def _record(self, question: AskedQuestion, answer: object) -> None:
        if question.answer is not None:  # the first answer counts
            return
        name = question.question_id
        decision = read_decision(answer, tool_name=self._tool_name, question_id=name)
        if isinstance(decision, Unreadable):
            await self._side.run(partial(self._journal.note, name, note=decision.note(name)))
        else:
            await self._side.run(self._journal.answer, name, stored(decision))

    async def _record_bare_answer(self) -> None:
        """Record this run's bare answer if it can only belong to one question of this package."""
        found = await self._read_stored()
        if found is None or len(found.open_questions) != 1:
            return
        [open_id] = found.open_questions
        asked = await self._side.run(self._journal.questions_of, (open_id,), self._thread)
        if not asked:
            return  # the open question is the user's
        with _claim_answer(self._thread, open_id) as claimed:
            value = self._null_resume(True) if claimed else None  # noqa: FBT003 - LangGraph's
            if value is not None:
                _TAKEN.add(self._null_resume)
                if asked[0].bare_ok:
                    await self._record(asked[0], value)
                else:
                    note = _ask_again_note(open_id)
                    await self._side.run(partial(self._journal.note, open_id, note=note))
                # Otherwise LangGraph would deliver it to another question after a crash.
                await self._clear_bare_answer(taken=True)
        while not claimed and (self._thread, open_id) in _IN_PROGRESS:
            await self._side.sleep(0.002)

    async def _read_stored(self) -> _CheckpointAnswers | None:
        """Read the root's checkpoint; return `None` if it can't be read here."""
        try:
            found = await self._side.read_checkpoint(self._saver, self._root)
        except Exception as error:  # noqa: BLE001 - the user's saver may be bound to another loop
            log.warning("the checkpoint can't be read here: %s", type(error).__name__)
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
        return _CheckpointAnswers(bare[0] if bare else None, tuple(dict.fromkeys(open_questions)))

    async def _clear_bare_answer(self, *, taken: bool = False) -> bool:
        """Clear the stored bare answer.

        Args:
            taken: true if this call has just read the bare answer.

        Returns:
            True only if it is certain that a new question can't receive an older bare answer.
        """
        if self._missing_name is not None:
            return False
        # Reading does not show whether the user's code consumed the answer, so an answer that this
        # package did not read counts as left over.
        answer_left = self._null_resume(False) is not None and self._null_resume not in _TAKEN  # noqa: FBT003
        polls = self._stores and (taken or answer_left)
        for _ in range(_POLLS if polls else 1):
            found = await self._read_stored()
            if found is None:
                return False
            if found.bare is not None:
                return await self._write_empty_answer() and (self._stores or not answer_left)
            if self._stores and self._null_resume in _CLEARED:
                return True  # another call in this task has cleared it
            if polls:
                await self._side.sleep(_POLL_SECONDS)
        return not answer_left

    async def _write_empty_answer(self) -> bool:
        try:
            # LangGraph treats None as "no answer".
            await self._side.write_checkpoint(
                self._saver, self._root, [(_RESUME, None)], _NULL_TASK
            )
        except Exception as error:  # noqa: BLE001 - the user's saver
            log.warning("an old answer can't be cleared: %s", type(error).__name__)
            return False
        found = await self._read_stored()
        cleared = found is not None and found.bare is None
        if cleared:
            _CLEARED.add(self._null_resume)
        return cleared


_TAKEN: weakref.WeakSet[Any] = weakref.WeakSet()
"""The `get_null_resume` of each task in which a call of this package read the bare answer."""

_CLEARED: weakref.WeakSet[Any] = weakref.WeakSet()
"""The `get_null_resume` of each task in which a stored bare answer was cleared.

LangGraph stores the bare answer once per run, so it can't reappear in that run.
"""

_IN_PROGRESS: set[tuple[str, str]] = set()
"""Questions, with their threads, whose bare answer a call of this process is recording now."""

_CLAIM_LOCK = threading.Lock()


class _claim_answer:  # noqa: N801 - a context manager
    """Context manager that is true for one call only; that call records the bare answer."""

    def __init__(self, thread: str, question_id: str) -> None:
        self._name = (thread, question_id)
        self._claimed = False

    def __enter__(self) -> bool:
        with _CLAIM_LOCK:
            self._claimed = self._name not in _IN_PROGRESS
            if self._claimed:
                _IN_PROGRESS.add(self._name)
        return self._claimed

    def __exit__(self, *_: object) -> None:
        if self._claimed:
            _IN_PROGRESS.discard(self._name)


def _how_to_answer(question_id: str) -> str:
    return f"Answer it by its id: Command(resume={{'{question_id}': {{'type': 'approve'}}}})."


def _ask_again_note(question_id: str) -> str:
    return f"The last answer did not name its question. {_how_to_answer(question_id)}"


def _is_id(name: object) -> bool:
    return isinstance(name, str) and _QUESTION_ID.fullmatch(name) is not None
