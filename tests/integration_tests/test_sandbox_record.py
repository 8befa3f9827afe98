"""The sandbox is not the user's record: its calls stay out of the journal of real ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from placing import NUMBER, at_any_hour, tool_call

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCaller, VoiceCallTool
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import CallRefusedError
from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.sandbox import CallScript
from langchain_oneshot_voice.schemas import VoiceCallInput


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's data directory, and no journal in the environment."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("ONESHOT_VOICE_JOURNAL", raising=False)
    return tmp_path / "langchain-oneshot-voice"


def test_a_service_on_this_machine_has_a_journal_of_its_own(sandbox: Sandbox, home: Path) -> None:
    """It is named after host and port; the user's default one is not even created."""
    tool = VoiceCallTool(
        private_key=sandbox.private_key, base_url=sandbox.base_url, policy=at_any_hour()
    )
    assert tool.invoke(tool_call()).artifact.call_status == "completed"
    port = sandbox.base_url.rpartition(":")[2]
    assert [file.name for file in home.glob("*.sqlite")] == [f"sandbox-127.0.0.1-{port}.sqlite"]


def test_the_sandbox_s_own_tool_is_ready(home: Path) -> None:
    """Its wallet, any hour, a record in memory that its tools share; twice in one process."""
    for _ in range(2):
        with Sandbox(call_seconds=0.05) as sandbox:
            first = sandbox.tool().invoke(tool_call())
            again = sandbox.tool(max_wait=10).invoke(tool_call())
            assert first.artifact.call_status == again.artifact.call_status == "completed"
            assert first.artifact.request_id == again.artifact.request_id
            assert len(sandbox.payments) == 1
    assert not home.exists()


def test_a_setting_of_the_user_s_wins_over_the_sandbox_s(sandbox: Sandbox, tmp_path: Path) -> None:
    """A token replaces the wallet, and a journal the one in memory."""
    token, file = sandbox.create_access_token(), tmp_path / "mine.sqlite"
    tool = sandbox.tool(access_token=token, journal=str(file))
    assert tool.invoke(tool_call()).artifact.call_status == "completed"
    assert (tool.private_key, file.exists()) == (None, True)


@pytest.mark.parametrize("named", ["calls.sqlite", "sqlite:///calls.sqlite?timeout=9", None])
def test_a_tool_keeps_the_journal_that_it_was_made_with(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    """Wherever the program goes later, and whatever is in the environment then."""
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    if named is None:
        monkeypatch.setenv("ONESHOT_VOICE_JOURNAL", "calls.sqlite")
    tool = VoiceCallTool(
        private_key=sandbox.private_key,
        base_url=sandbox.base_url,
        policy=at_any_hour(),
        journal=named,
    )
    monkeypatch.chdir(tmp_path / "second")
    monkeypatch.setenv("ONESHOT_VOICE_JOURNAL", str(tmp_path / "other.sqlite"))
    tool.invoke(tool_call())
    tool.policy = at_any_hour(duplicate_window=None)
    tool.invoke(tool_call())
    assert [file.parent.name for file in tmp_path.rglob("*.sqlite")] == ["first"]


@pytest.mark.parametrize(
    ("spelled", "service"),
    [
        ("http://localhost:4402", "http://127.0.0.1:4402"),
        ("http://[::1]:4402/", "http://127.0.0.1:4402"),
        ("http://127.0.0.1:4402", "http://127.0.0.1:4402"),
        ("http://127.0.0.1", "http://127.0.0.1:80"),
        ("https://localhost/a", "https://127.0.0.1:443/a"),
        ("https://win.oneshotagent.com/", "https://win.oneshotagent.com"),
        ("HTTPS://Win.OneShotAgent.com.:443/", "https://win.oneshotagent.com"),
        ("https://[2001:DB8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
    ],
)
def test_a_service_has_one_name(spelled: str, service: str) -> None:
    """However it is spelled, it is one service in call keys and guards."""
    assert Environment.at(spelled).service == service


def test_a_number_that_is_busy_is_so_by_every_name_of_the_service(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """A call by `127.0.0.1` is seen by a caller that says `localhost`."""
    sandbox.expect(NUMBER, CallScript(seconds=30.0))
    journal = CallJournal(tmp_path / "calls.sqlite")
    credential = sandbox.tool().caller.credential
    names = [sandbox.base_url, sandbox.base_url.replace("127.0.0.1", "localhost")]
    first, second = (
        VoiceCaller(credential, base_url=name, journal=journal, policy=at_any_hour(), max_wait=0.1)
        for name in names
    )
    asked = VoiceCallInput(objective="Ask for a table.", target_number=NUMBER)
    assert first.call(asked).call_status == "in_progress"
    other = VoiceCallInput(objective="Ask for the hours.", target_number=NUMBER)
    with pytest.raises(CallRefusedError) as refused:
        second.call(other)
    assert refused.value.code == "number_busy"
    ENGINE.call(journal.aclose)
