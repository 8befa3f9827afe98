"""What every test starts from: no credentials around, and a sandbox and a journal of its own.

A sandbox takes a thousandth of a second to start and to stop. So each test has one, at a port of
its own: a request that an earlier test left behind finds nobody there, and can't count in this one.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cells import needless
from full import FULL
from hypothesis import settings

if TYPE_CHECKING:  # the process that only hands out the tests needs none of it
    from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCaller, VoiceCallTool

settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, max_examples=100 if FULL else 25
)
settings.load_profile("steady")  # the same examples on every machine, however slow it is

UNIT_TESTS = Path(__file__).with_name("unit_tests")
PROMISES = Path(__file__).with_name("promises")
BEGIN_FIRST = {"test_notebooks.py", "test_types.py", "test_readme.py"}
"""Their programs run for seconds."""

MakeCaller = Callable[..., "VoiceCaller"]
MakeTool = Callable[..., "VoiceCallTool"]


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was imported: looking through it takes a tenth of a run."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let unit tests open no socket; all others reach this machine, as `pyproject.toml` says."""
    left_out = set() if FULL else needless(items, PROMISES)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if UNIT_TESTS in item.path.parents:
            item.add_marker(pytest.mark.disable_socket)
    # One worker takes the first half, the other one the second: the longest tests begin at once.
    items.sort(key=lambda item: item.path.name not in BEGIN_FIRST)


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
    from langchain_oneshot_voice import Sandbox

    with Sandbox(call_seconds=0.05) as running:
        yield running


@pytest.fixture
def journal() -> CallJournal:
    """A record of calls, in memory: the same code as in a file, without the disk."""
    from langchain_oneshot_voice import CallJournal

    return CallJournal("memory")


@pytest.fixture
def journal_file(tmp_path: Path) -> CallJournal:
    """A record of calls in a file, where a test is about the file."""
    from langchain_oneshot_voice import CallJournal

    return CallJournal(tmp_path / "calls.sqlite")


@pytest.fixture
def make_caller(sandbox: Sandbox, journal: CallJournal) -> MakeCaller:
    """Builds a `VoiceCaller` for the sandbox's wallet; any argument can be given instead."""
    from placing import FAST, at_any_hour
    from pydantic import SecretStr

    from langchain_oneshot_voice import VoiceCaller
    from langchain_oneshot_voice.oneshot.wallet import WalletKey

    def make(**changes: Any) -> VoiceCaller:
        usual: dict[str, Any] = {
            "credential": WalletKey(SecretStr(sandbox.private_key)),
            "base_url": sandbox.base_url,
            "journal": journal,
            "policy": at_any_hour(),
            "max_wait": 10.0,
            "timing": FAST,
        }
        return VoiceCaller(**usual | changes)

    return make


@pytest.fixture
def make_tool(sandbox: Sandbox, journal: CallJournal) -> MakeTool:
    """Builds a `VoiceCallTool` for the sandbox's wallet, with a caller that is fast.

    Arguments of the tool can be given instead.
    """
    from placing import FAST, at_any_hour

    from langchain_oneshot_voice import VoiceCallTool

    def make(**changes: Any) -> VoiceCallTool:
        usual: dict[str, Any] = {
            "base_url": sandbox.base_url,
            "journal": journal,
            "policy": at_any_hour(),
            "max_wait": 10.0,
            "timing": FAST,
        }
        if not {"access_token", "credential"} & changes.keys():
            usual["private_key"] = sandbox.private_key
        return VoiceCallTool(**usual | changes)

    return make
