"""A journal that fails while a call is under way: on real files, before and after the signature.

Before it, nothing is signed and nothing is charged, and the error says so. After it, the call is
seen to its end and the caller has its result; nothing is paid again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos.callers import caller_on
from chaos.workers import Workers, workers
from conftest import MakeCaller, MakeTool
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command
from placing import NUMBER, OBJECTIVE, signatures, tool_call

from langchain_oneshot_voice import (
    CallJournal,
    CallProgress,
    CallUnknownError,
    ConfigurationError,
    Sandbox,
    VoiceCaller,
    VoiceCallInput,
    VoiceCallResult,
)
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.journal import store

__all__ = ["workers"]

REQUEST = VoiceCallInput(objective=OBJECTIVE, target_number=NUMBER)
OTHER = VoiceCallInput(objective="Ask when they close.", target_number="+14155550110")

Deed = Callable[[Path], None]


def key_of(request: VoiceCallInput) -> CallKey:
    """The key that the application gives the request."""
    return CallKey.of(request, idempotency_key=request.objective)


def call(caller: VoiceCaller, request: VoiceCallInput = REQUEST) -> VoiceCallResult:
    """Ask for a call under its key."""
    return caller.call(request, call_key=key_of(request))


class At:
    """Does something once, when a call has come to a stage."""

    def __init__(self, stage: str, deed: Callable[[], Any]) -> None:
        self._stage = stage
        self._deed: Callable[[], Any] | None = deed

    def __call__(self, progress: CallProgress) -> None:
        """Hear of a stage."""
        if progress.stage == self._stage and self._deed is not None:
            deed, self._deed = self._deed, None
            deed()


@pytest.fixture
def make_caller(sandbox: Sandbox) -> MakeCaller:
    """Builds a caller that waits for `on_progress`: what is done at a step is done before it."""
    return lambda **settings: caller_on(sandbox, **settings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of a test lives."""
    return tmp_path / "calls.sqlite"


# A file that is taken away


def delete(path: Path) -> None:
    """Delete all of it."""
    for file in path.parent.glob("calls.sqlite*"):
        file.unlink()


def replace(path: Path) -> None:
    """Put an empty file in its place."""
    path.with_name("new").touch()
    path.with_name("new").rename(path)


def delete_log(path: Path) -> None:
    """Delete the latest commits."""
    path.with_name("calls.sqlite-wal").unlink()


DEEDS = pytest.mark.parametrize("deed", [delete, replace, delete_log], ids=lambda d: d.__name__)


@DEEDS
def test_nothing_is_signed_on_a_file_that_was_taken_away(
    make_caller: MakeCaller, sandbox: Sandbox, path: Path, deed: Deed
) -> None:
    """The error says what happened and what to do, now and later."""
    caller = make_caller(journal=str(path), on_progress=At("quoted", lambda: deed(path)))
    for request in (REQUEST, REQUEST, OTHER):
        with pytest.raises(ConfigurationError, match="Nothing was charged") as told:
            call(caller, request)
        assert (told.value.code, told.value.charged) == ("journal_unavailable", "no")
        assert "calls.sqlite" in told.value.reason
    assert (signatures(sandbox), sandbox.payments, sandbox.rings) == ([], (), ())


@DEEDS
@pytest.mark.parametrize("stage", ["paying", "placed"])
def test_a_signed_call_tells_its_outcome_though_its_record_is_gone(
    make_caller: MakeCaller,
    sandbox: Sandbox,
    path: Path,
    deed: Deed,
    stage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller has the result, a log has the request id, and nothing else is signed."""
    caller = make_caller(journal=str(path), on_progress=At(stage, lambda: deed(path)))
    caplog.set_level(logging.ERROR)
    result = call(caller)
    assert (result.call_status, result.request_id) == ("completed", sandbox.calls[0].request_id)
    assert "ended, unrecorded" in caplog.text
    with pytest.raises(ConfigurationError, match="Nothing was charged"):
        call(caller, OTHER)
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


def test_a_file_that_goes_while_the_signature_is_recorded_leaves_the_fate_open(
    make_caller: MakeCaller, sandbox: Sandbox, path: Path
) -> None:
    """Nothing is sent. Whoever puts the file back can have the call finished: it is not a no."""
    journal = CallJournal(path)
    aside = path.with_name("aside")
    signed = "AFTER UPDATE ON calls WHEN old.state <> 'signed' AND new.state = 'signed'"

    def lose_while_signing() -> None:
        def prepare(connection: Any, _now: float) -> None:
            raw = connection.connection.driver_connection
            raw.create_function("move_it", 0, lambda: str(path.rename(aside)))
            connection.exec_driver_sql(
                f"CREATE TEMP TRIGGER t {signed} BEGIN SELECT move_it(); END"
            )

        async def prepared() -> None:
            await journal._read(prepare)

        asyncio.run(prepared())

    caller = make_caller(journal=journal, on_progress=At("quoted", lose_while_signing))
    with pytest.raises(CallUnknownError, match="deleted or moved") as told:
        call(caller)
    assert (told.value.charged, signatures(sandbox)) == ("unknown", [])
    aside.rename(path)
    assert call(caller).call_status == "completed"
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_yes_that_comes_when_the_file_is_gone_signs_nothing(
    make_tool: MakeTool, sandbox: Sandbox, path: Path, mode: str
) -> None:
    """The model is told, like before a price was asked for; the graph goes on."""
    tool = make_tool(journal=str(path), approval="interrupt")
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    app = graph.compile(checkpointer=InMemorySaver())

    def run(given: Any) -> Any:
        thread: Any = {"configurable": {"thread_id": "1"}}
        return (
            app.invoke(given, thread) if mode == "sync" else asyncio.run(app.ainvoke(given, thread))
        )

    asks = AIMessage("", tool_calls=[tool_call()])
    [question] = run({"messages": [asks]})["__interrupt__"]
    delete(path)
    told = run(Command(resume={question.id: {"type": "approve"}}))["messages"][-1].content
    assert "was deleted or moved" in told
    assert "Nothing was charged" in told
    assert (signatures(sandbox), sandbox.payments) == ([], ())


# A file that another process has locked


@contextmanager
def locked(path: Path) -> Iterator[Callable[[], object]]:
    """Yields a function that locks the file, until the end of the block."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    with closing(other):
        yield lambda: other.execute("BEGIN IMMEDIATE")


def test_a_locked_file_signs_nothing(
    make_caller: MakeCaller, sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the lock; when it is gone, the same call is made."""
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.2)
    with locked(path) as lock:
        caller = make_caller(journal=str(path), on_progress=At("quoted", lock))
        with pytest.raises(ConfigurationError, match=r"kept it locked for 0\.2 seconds") as told:
            call(caller)
        assert (told.value.charged, signatures(sandbox)) == ("no", [])
    assert call(caller).call_status == "completed"
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


@pytest.mark.parametrize("stage", ["paying", "placed"])
def test_a_file_that_is_locked_after_the_signature_loses_no_outcome(
    make_caller: MakeCaller,
    sandbox: Sandbox,
    path: Path,
    stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller has it while the lock lasts; the record is completed afterwards, and not paid."""
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.2)
    with locked(path) as lock:
        caller = make_caller(journal=str(path), on_progress=At(stage, lock))
        first = call(caller)
        assert first.call_status == "completed"
    again = call(caller)
    assert (again.call_status, again.request_id) == ("completed", first.request_id)
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


# A disk that is full

FULL = """
import json, logging, resource, sys
from chaos.callers import caller_on
from chaos.workers import Workers, workers
from langchain_oneshot_voice import VoiceCallInput, VoiceCallError
from langchain_oneshot_voice.calls.call_key import CallKey
import types

stage, base_url, key, path = sys.argv[1:]
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)

def fill(progress):
    if progress.stage == stage:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # no file can be written any more

def told():
    request = VoiceCallInput(objective={objective!r}, target_number={number!r})
    try:
        result = caller.call(request, call_key=CallKey.of(request, idempotency_key="k"))
        return result.call_status, result.request_id
    except VoiceCallError as error:
        return error.code, error.charged, str(error)

where = types.SimpleNamespace(base_url=base_url, private_key=key)
caller = caller_on(where, path, on_progress=fill)
ends = [told()]
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
stage = "never"
ends.append(told())
print(json.dumps(ends))
"""


def with_a_full_disk(workers: Workers, sandbox: Sandbox, path: Path, stage: str) -> list[Any]:
    """What a process is told whose disk is full from a stage on, and when there is room again."""
    program = FULL.format(objective=OBJECTIVE, number=NUMBER)
    ran = workers.run(program, stage, sandbox.base_url, sandbox.private_key, path)
    assert ran.returncode == 0, ran.stderr
    ends: list[Any] = json.loads(ran.stdout)
    return ends


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
def test_a_full_disk_signs_nothing(workers: Workers, sandbox: Sandbox, path: Path) -> None:
    """The error says so; when there is room again, the same call is made."""
    (code, charged, text), again = with_a_full_disk(workers, sandbox, path, "quoted")
    assert (code, charged) == ("journal_unavailable", "no")
    assert "the disk failed, or is full" in text
    assert again[0] == "completed"
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such limit")
@pytest.mark.parametrize("stage", ["paying", "placed"])
def test_a_disk_that_is_full_after_the_signature_loses_no_outcome(
    workers: Workers, sandbox: Sandbox, path: Path, stage: str
) -> None:
    """The caller has it; when there is room again it is on record, and is not paid again."""
    first, again = with_a_full_disk(workers, sandbox, path, stage)
    assert first == again == ["completed", sandbox.calls[0].request_id]
    assert (len(sandbox.payments), len(sandbox.rings)) == (1, 1)
