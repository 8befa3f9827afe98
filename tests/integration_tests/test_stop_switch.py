"""The stop switch: nobody who shares the journal signs anything while it is on."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from chaos.ledger import times_paid, times_rung
from chaos.workers import Workers
from conftest import MakeTool
from placing import NUMBER, signatures, tool_call
from typer.testing import CliRunner, Result

from langchain_oneshot_voice import CallRefusedError, Sandbox, VoiceCallInput
from langchain_oneshot_voice.commands import app
from langchain_oneshot_voice.sandbox import CallScript

WEALTH = Decimal(10**6)
_CALLS = 100
"""Calls of each process: more than can be placed before the switch is turned."""
Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of a test lives."""
    return tmp_path / "calls.sqlite"


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the test's journal."""
    monkeypatch.setenv("ONESHOT_VOICE_JOURNAL", str(path))
    return lambda *words: CliRunner().invoke(app, words)


def test_a_stopped_call_says_who_stopped_it_and_why_and_costs_nothing(
    make_tool: MakeTool, sandbox: Sandbox, path: Path, run: Run
) -> None:
    """Not even a price is asked for; once calls are allowed again, the same call is made."""
    tool = make_tool(journal=str(path))
    tool.caller.pause("It calls the wrong people", by="Ana")
    told = tool.invoke(tool_call())
    assert told.status == "error"
    assert "Ana stopped all calls at 20" in told.content
    assert 'saying: "It calls the wrong people". Nothing was charged.' in told.content
    assert (len(sandbox.requests), signatures(sandbox)) == (0, [])
    assert "It calls the wrong people" in " ".join(run("calls").output.split())

    assert run("resume").output.strip() == "Calls are allowed again."
    assert tool.invoke(tool_call()).artifact.call_status == "completed"
    assert run("resume").output.strip() == "Calls were not stopped."


def test_the_first_reason_stays(make_tool: MakeTool, path: Path, run: Run) -> None:
    """Who stops what is stopped already changes nothing."""
    assert run("pause", "--why", "First.").exit_code == 0
    assert run("pause", "--why", "Second.").exit_code == 0
    caller = make_tool(journal=str(path)).caller
    with pytest.raises(CallRefusedError, match="First") as refused:
        caller.call(VoiceCallInput(objective="Ask for a table.", target_number=NUMBER))
    assert (refused.value.code, refused.value.charged) == ("calls_stopped", "no")
    assert caller.resume()
    assert not caller.resume()


def test_a_yes_that_comes_while_calls_are_stopped_signs_nothing(
    make_tool: MakeTool, sandbox: Sandbox, path: Path
) -> None:
    """The switch is looked at again in the transaction that signs; later the yes still holds."""
    asked: list[VoiceCallInput] = []

    def stop_and_approve(request: VoiceCallInput, _quote: object) -> bool:
        asked.append(request)
        tool.caller.pause("Stopped while a person thought.")
        return True

    tool = make_tool(journal=str(path), approval=stop_and_approve)
    told = tool.invoke(tool_call())
    assert ("stopped all calls" in told.content, signatures(sandbox)) == (True, [])
    tool.caller.resume()
    assert tool.invoke(tool_call()).artifact.call_status == "completed"
    assert (len(asked), times_paid(sandbox)) == (1, 1)


def test_a_call_under_way_goes_on_to_its_end(
    make_tool: MakeTool, sandbox: Sandbox, path: Path
) -> None:
    """What was paid for is told, also to a later run."""
    sandbox.expect(NUMBER, CallScript(seconds=0.5))
    tool = make_tool(journal=str(path), max_wait=0.05)
    assert tool.invoke(tool_call()).artifact.call_status == "in_progress"
    tool.caller.pause("No more calls today.")
    later = make_tool(journal=str(path)).invoke(tool_call())
    assert later.artifact.call_status == "completed"


def test_four_processes_stop_at_once(tmp_path: Path, path: Path, run: Run) -> None:
    """Each makes many calls; nothing is signed after the moment of the switch, and all is told."""
    with (
        Sandbox(call_seconds=0.02, balance=WEALTH) as sandbox,
        Workers(tmp_path / "log") as workers,
    ):
        tasks = [_task(sandbox, path, tmp_path, worker) for worker in range(4)]
        pids = workers.start(*tasks)
        _wait_until(lambda: times_rung(sandbox) >= 8)
        assert run("pause", "--why", "Enough.").exit_code == 0
        workers.wait(pids)
        ends = [end for task in tasks for end in json.loads(Path(task["result"]).read_text())]
        came_to = Counter(end.get("status") or end["error"] for end in ends)
        assert came_to.keys() == {"completed", "calls_stopped"}
        assert came_to["completed"] == times_paid(sandbox) == times_rung(sandbox)
    with closing(sqlite3.connect(path)) as journal:
        [(stopped,)] = journal.execute("SELECT value FROM journal_meta WHERE name = 'paused'")
        [(last,)] = journal.execute("SELECT max(signed_at) FROM calls")
    assert last <= json.loads(stopped)["since"]


def _task(sandbox: Sandbox, path: Path, folder: Path, worker: int) -> dict[str, Any]:
    calls = [
        {
            "key": f"{worker}-{i}",
            "number": f"+1415555{2000 + worker * _CALLS + i}",
            "objective": f"Ask for order {worker} {i}.",
        }
        for i in range(_CALLS)
    ]
    return {
        "journal": str(path),
        "base_url": sandbox.base_url,
        "private_key": sandbox.private_key,
        "result": str(folder / f"{worker}.json"),
        "calls": calls,
    }


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
