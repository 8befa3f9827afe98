"""Setting up the tool: from arguments, from the environment, and wrongly."""

from __future__ import annotations

import importlib.util
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumps

from langchain_oneshot_voice import CallPolicy, ConfigurationError, Timing, VoiceCallTool
from langchain_oneshot_voice.oneshot.environment import PRODUCTION_URL
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey

KEY = "0x" + "12" * 32
TOKEN = "oneshot_" + "ab" * 32


def make(**changes: Any) -> VoiceCallTool:
    """A tool with these arguments, which never calls anybody."""
    return VoiceCallTool(**{"journal": "memory"} | changes)


def test_no_credential_is_an_error_that_names_the_sandbox() -> None:
    """Without a key or a token the error says how to try it all the same."""
    with pytest.raises(ConfigurationError, match="oneshot-voice sandbox"):
        make()


def test_two_credentials_are_an_error() -> None:
    """It has to be plain who pays."""
    with pytest.raises(ConfigurationError, match="Pass only one"):
        make(private_key=KEY, access_token=TOKEN)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("ONESHOT_WALLET_PRIVATE_KEY", KEY, WalletKey),
        ("ONESHOT_ACCESS_TOKEN", TOKEN, AccessToken),
    ],
)
def test_credential_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, kind: type
) -> None:
    """A credential may come from its environment variable."""
    monkeypatch.setenv(name, value)

    assert isinstance(make().caller.credential, kind)


def test_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is given is used, whatever key stands in the environment; and the reverse."""
    monkeypatch.setenv("ONESHOT_WALLET_PRIVATE_KEY", KEY)
    with_token = make(access_token=TOKEN)
    monkeypatch.setenv("ONESHOT_ACCESS_TOKEN", TOKEN)
    monkeypatch.delenv("ONESHOT_WALLET_PRIVATE_KEY")
    with_key = make(private_key=KEY)

    assert isinstance(with_token.caller.credential, AccessToken)
    assert with_token.private_key is None
    assert isinstance(with_key.caller.credential, WalletKey)
    assert with_key.access_token is None


def test_production_is_the_default() -> None:
    """Without an address calls go to the service itself."""
    assert make(private_key=KEY).caller.environment.base_url == PRODUCTION_URL


def test_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address may come from its environment variable."""
    monkeypatch.setenv("ONESHOT_BASE_URL", "http://127.0.0.1:8402")

    assert make(private_key=KEY).caller.environment.base_url == "http://127.0.0.1:8402"


@pytest.mark.parametrize("url", ["http://win.oneshotagent.com", "nonsense"])
def test_wrong_address_is_an_error_at_once(url: str) -> None:
    """An address that can't be used is told when the tool is made, not when a model calls."""
    with pytest.raises(ConfigurationError):
        make(private_key=KEY, base_url=url)


@pytest.mark.parametrize("changes", [{"private_key": "0x12"}, {"access_token": "oneshot_12"}])
def test_wrong_credential_is_an_error_at_once(changes: dict[str, str]) -> None:
    """A credential that can't be one is told when the tool is made, and not repeated."""
    with pytest.raises(ConfigurationError) as refused:
        make(**changes)

    assert next(iter(changes.values())) not in str(refused.value)


@pytest.mark.parametrize("changes", [{"max_wait": 0}, {"max_wait": -1}, {"policy": {"typo": 1}}])
def test_wrong_argument_is_an_error_that_shows_no_secret(changes: dict[str, Any]) -> None:
    """A wrong argument beside a key is told without the key."""
    with pytest.raises(ConfigurationError, match=next(iter(changes))) as refused:
        make(private_key=KEY, **changes)

    assert "12" * 32 not in str(refused.value)
    assert "12" * 32 not in repr(refused.value)


def test_key_of_a_wrong_type_is_not_repeated() -> None:
    """Bytes in the key's place are refused without being shown."""
    with pytest.raises(ConfigurationError) as refused:
        make(private_key=[KEY])

    assert "12" * 32 not in f"{refused.value} {refused.value!r}"


def test_policy_is_the_callers() -> None:
    """The policy that the tool was given is the one that calls are held to."""
    policy = CallPolicy(max_cost_per_call=1)

    assert make(private_key=KEY, policy=policy).caller.policy == policy


@pytest.mark.parametrize(
    "secret", [{"private_key": KEY}, {"access_token": TOKEN}], ids=["key", "token"]
)
def test_tool_never_shows_its_secret(secret: dict[str, str]) -> None:
    """No way of printing, dumping or serializing the tool shows the key or the token."""
    tool = make(**secret)
    shown = " ".join(
        (
            repr(tool),
            str(tool),
            repr(tool.caller),
            repr(tool.model_dump()),
            tool.model_dump_json(exclude={"args_schema", "handle_validation_error"}),
            dumps(tool),
            repr(tool.__dict__),
            repr(vars(tool.caller)),
            repr(list(tool)),
            str(tool.metadata),
            str(tool.extras),
        )
    )

    assert next(iter(secret.values()))[-64:] not in shown


def test_tool_is_not_serializable_by_langchain() -> None:
    """LangChain does not write the tool down, so it can't write the key down."""
    assert VoiceCallTool.is_lc_serializable() is False


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """As if a package were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )


def test_approval_in_a_graph_without_langgraph_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra to install is named when the tool is made, and when it is changed."""
    tool = make(private_key=KEY)
    without(monkeypatch, "langgraph")
    with pytest.raises(ConfigurationError, match=r"langchain-oneshot-voice\[langgraph\]"):
        make(private_key=KEY, approval="interrupt")
    with pytest.raises(ConfigurationError, match=r"langchain-oneshot-voice\[langgraph\]"):
        tool.approval = "interrupt"
    assert tool.approval == "never"


def test_postgresql_without_psycopg_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra to install is named, and nothing of the URL."""
    without(monkeypatch, "psycopg")
    with pytest.raises(ConfigurationError, match=r"langchain-oneshot-voice\[postgres\]") as refused:
        make(private_key=KEY, journal="postgresql://me:a-password@db.internal/calls")
    assert "a-password" not in str(refused.value)


def test_journal_whose_folder_can_t_be_made_is_an_error_at_once(tmp_path: Path) -> None:
    """And nothing is made."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigurationError, match="can't be created or written"):
        make(private_key=KEY, journal=file / "below" / "calls.sqlite")
    make(private_key=KEY, journal=tmp_path / "new" / "calls.sqlite")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "changes",
    [
        {"approval": "interupt"},
        {"approval": True},
        {"policy": "strict"},
        {"policy": {"max_cost_per_call": 5}},
        {"on_progress": "print"},
        {"journal": 5},
        {"timing": 5},
        {"retention": 30},
        {"retention": timedelta(days=-1)},
        {"credential": KEY},
        {"max_wait": float("nan")},
        {"max_wait": "60"},
    ],
    ids=repr,
)
def test_setting_of_a_wrong_kind_is_named_at_once(changes: dict[str, Any]) -> None:
    """What it has to be is said; a guard is never set to something that does nothing."""
    given = changes if "credential" in changes else {"private_key": KEY, **changes}
    with pytest.raises(ConfigurationError, match=f"`{next(iter(changes))}` has to be"):
        make(**given)


@pytest.mark.parametrize(
    "seconds",
    [0, -1, float("nan"), float("inf"), 1e10, pytest.param(10**400, id="huge"), True, "5", None],
)
def test_time_that_is_none_is_named_at_once(seconds: Any) -> None:
    """Each time is a number of seconds above zero, and none that no thread can wait for."""
    with pytest.raises(ConfigurationError, match="`connect` of Timing"):
        Timing(connect=seconds)


def test_lease_that_lapses_between_heartbeats_is_refused() -> None:
    """A worker that lives would count as dead."""
    with pytest.raises(ConfigurationError, match="would expire between two heartbeats"):
        Timing(heartbeat=5)
    assert Timing(heartbeat=5, lease=20).lease == 20
