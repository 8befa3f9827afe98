"""The commands of `oneshot-voice` over a journal that real calls were written to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import MakeTool
from placing import NUMBER, arguments, at_any_hour, tool_call
from typer.testing import CliRunner, Result

from langchain_oneshot_voice import Sandbox, VoiceCallTool
from langchain_oneshot_voice.commands import app
from langchain_oneshot_voice.sandbox import CallScript

Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of a test lives."""
    return tmp_path / "calls.sqlite"


@pytest.fixture
def run(sandbox: Sandbox, path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command with the sandbox's wallet and the test's journal in the environment."""
    monkeypatch.setenv("ONESHOT_BASE_URL", sandbox.base_url)
    monkeypatch.setenv("ONESHOT_WALLET_PRIVATE_KEY", sandbox.private_key)
    monkeypatch.setenv("ONESHOT_VOICE_JOURNAL", str(path))
    monkeypatch.setenv("COLUMNS", "140")
    return lambda *words: CliRunner().invoke(app, words)


def test_calls_lists_what_the_journal_knows(make_tool: MakeTool, path: Path, run: Run) -> None:
    """A row a call: to whom, masked; its state, verdict, cost and request id."""
    message = make_tool(journal=str(path)).invoke(tool_call())
    listed = run("calls").output

    for part in ("done", "success, person", "$6.75", message.artifact.request_id[:12]):
        assert part in listed
    assert NUMBER not in listed


def test_recover_finishes_a_call_whose_wait_ran_out(
    make_tool: MakeTool, sandbox: Sandbox, path: Path, run: Run
) -> None:
    """The outcome of a call that was handed back in progress is read later, and paid once.

    Whoever's it is: the message that sends people here goes to every tenant.
    """
    sandbox.expect(NUMBER, CallScript(seconds=1.0))
    theirs = at_any_hour(tenant="ann")
    message = make_tool(journal=str(path), max_wait=0.2, policy=theirs).invoke(tool_call())
    assert message.artifact.call_status == "in_progress"

    recovered = run("recover", "--max-wait", "10")
    assert recovered.exit_code == 0, recovered.output
    assert "achieved its objective" in recovered.output
    assert "done" in run("calls").output
    assert len(sandbox.payments) == 1


def test_recover_needs_a_credential(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the command says what to set, and exits with 2."""
    monkeypatch.delenv("ONESHOT_WALLET_PRIVATE_KEY")
    refused = run("recover")

    assert refused.exit_code == 2
    assert "ONESHOT_WALLET_PRIVATE_KEY" in refused.output


def test_forget_removes_whom_and_keeps_the_cost(make_tool: MakeTool, path: Path, run: Run) -> None:
    """Old calls lose their numbers; what they cost stays on the list."""
    make_tool(journal=str(path)).invoke(tool_call())
    forgotten = run("forget", "--older-than", "0s")

    assert "1 call forgotten" in forgotten.output
    listed = run("calls").output
    assert "forgotten" in listed
    assert "$6.75" in listed


def test_an_age_that_is_none_is_a_usage_error(run: Run) -> None:
    """`--older-than soon` says what an age looks like."""
    refused = run("forget", "--older-than", "soon")

    assert refused.exit_code == 2
    assert "30d" in refused.output


def test_a_journal_that_can_not_be_opened_says_what_to_set(run: Run) -> None:
    """The message names the variable and the way out; it is no traceback."""
    refused = run("calls", "--journal", "/proc/no/such/place.sqlite")

    assert refused.exit_code == 2
    assert "ONESHOT_VOICE_JOURNAL" in refused.output.replace("\n", "")


def test_commands_are_about_the_service_that_a_tool_calls(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox in the environment has a journal of its own, which is listed and stopped."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("ONESHOT_VOICE_JOURNAL")
    tool = VoiceCallTool(policy=at_any_hour())
    tool.invoke(tool_call())

    assert "success, person" in run("calls").output
    assert "$6.75" in run("report").output
    run("pause", "--why", "wrong people")
    assert "wrong people" in tool.invoke(tool_call("call-2", **arguments("+14155550133"))).content


def test_the_environment_says_which_journal_at_each_call(
    make_tool: MakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that was named before, in the same process, is not used in its place."""
    files = [tmp_path / "first.sqlite", tmp_path / "second.sqlite"]
    for file in files:
        monkeypatch.setenv("ONESHOT_VOICE_JOURNAL", str(file))
        make_tool(journal=None).invoke(tool_call())
    assert [file.exists() for file in files] == [True, True]
