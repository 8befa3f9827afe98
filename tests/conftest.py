"""What every test starts from: no credentials around, and a sandbox and a journal of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from placing import FAST_PACE, FAST_PATIENCE, FAST_TIMEOUTS, at_any_hour
from pydantic import SecretStr

from langchain_oneshot_voice import CallJournal, CallPolicy, Sandbox, VoiceCaller, VoiceCallTool
from langchain_oneshot_voice.oneshot.wallet import WalletKey

settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")  # the same examples on every machine, however slow it is

MakeCaller = Callable[..., VoiceCaller]
MakeTool = Callable[..., VoiceCallTool]


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and addresses of whoever runs the tests are not theirs to use."""
    for name in ("WALLET_PRIVATE_KEY", "ACCESS_TOKEN", "BASE_URL", "VOICE_JOURNAL"):
        monkeypatch.delenv(f"ONESHOT_{name}", raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setenv("LANGCHAIN_TRACING_V2", "false")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A running service with a wallet that nobody has used."""
    with Sandbox(call_seconds=0.05) as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> CallJournal:
    """A record of calls that no other test writes to."""
    return CallJournal(tmp_path / "calls.sqlite")


@pytest.fixture
def make_caller(sandbox: Sandbox, journal: CallJournal) -> MakeCaller:
    """Builds a `VoiceCaller` for the sandbox's wallet; any argument can be given instead."""

    def make(**changes: Any) -> VoiceCaller:
        usual: dict[str, Any] = {
            "credential": WalletKey(SecretStr(sandbox.private_key)),
            "base_url": sandbox.base_url,
            "journal": journal,
            "policy": at_any_hour(),
            "max_wait": 10.0,
            "pace": FAST_PACE,
            "patience": FAST_PATIENCE,
            "timeouts": FAST_TIMEOUTS,
        }
        return VoiceCaller(**usual | changes)

    return make


@pytest.fixture
def make_tool(sandbox: Sandbox, journal: CallJournal, make_caller: MakeCaller) -> MakeTool:
    """Builds a `VoiceCallTool` for the sandbox's wallet, with a caller that is fast.

    Arguments of the tool can be given instead, as can `pace`, `patience` and `timeouts`.
    """

    def make(**changes: Any) -> VoiceCallTool:
        impatient = {
            name: changes.pop(name) for name in ("pace", "patience", "timeouts") if name in changes
        }
        usual: dict[str, Any] = {
            "base_url": sandbox.base_url,
            "journal": journal,
            "policy": at_any_hour(),
            "max_wait": 10.0,
        }
        if "access_token" not in changes:
            usual["private_key"] = sandbox.private_key
        tool = VoiceCallTool(**usual | changes)
        tool._caller = make_caller(
            credential=tool.caller._credential,
            base_url=tool.base_url,
            policy=tool.policy if isinstance(tool.policy, CallPolicy) else None,
            approval=tool.approval,
            journal=tool.journal,
            on_progress=tool.on_progress,
            max_wait=tool.max_wait,
            **impatient,
        )
        return tool

    return make
