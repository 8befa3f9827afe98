"""What a tool is set to: every way to change it takes effect or is refused; nothing is ignored."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.runnables import ConfigurableField
from pydantic import SecretStr

from langchain_oneshot_voice import CallJournal, CallPolicy, Sandbox, VoiceCaller, VoiceCallTool
from langchain_oneshot_voice.errors import ConfigurationError
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey

KEY, TOKEN = "0x" + "1" * 64, "oneshot_" + "0" * 64
LOCAL = "http://127.0.0.1:4402"


@pytest.fixture
def tool() -> VoiceCallTool:
    """A tool that pays from a wallet."""
    return VoiceCallTool(private_key=KEY, journal="memory")


def assigned(tool: VoiceCallTool, **changes: Any) -> VoiceCallTool:
    """Change attributes, one after the other."""
    for name, value in changes.items():
        setattr(tool, name, value)
    return tool


def copied(tool: VoiceCallTool, **changes: Any) -> VoiceCallTool:
    """Make a copy with these changes."""
    return tool.model_copy(update=changes)


def copied_as_before(tool: VoiceCallTool, **changes: Any) -> VoiceCallTool:
    """Make a copy by the name that pydantic had for it, which no type checker sees."""
    made: VoiceCallTool = tool.copy(update=changes)
    return made


WAYS = pytest.mark.parametrize("change", [assigned, copied, copied_as_before])
Change = Callable[..., VoiceCallTool]


@WAYS
def test_a_change_holds_for_the_next_call(tool: VoiceCallTool, change: Change) -> None:
    """What makes the calls has the new setting, not only the tool."""

    def ask_me(_request: object, _quote: object) -> bool:
        return False

    policy = CallPolicy(max_cost_per_call=1)
    changed = change(tool, approval=ask_me, base_url=LOCAL, policy=policy, max_wait=3.0)
    caller = changed.caller
    assert caller.approval is ask_me
    assert caller.environment.base_url == LOCAL
    assert caller.policy == policy
    assert caller.max_wait == 3.0
    assert (changed.approval, changed.base_url) == (ask_me, LOCAL)


@WAYS
def test_who_pays_is_changed_as_a_whole(tool: VoiceCallTool, change: Change) -> None:
    """A new token replaces the key, and a new key the token."""
    by_token = change(tool, access_token=SecretStr(TOKEN))
    assert (by_token.private_key, type(by_token.caller.credential)) == (None, AccessToken)
    by_key = change(by_token, private_key="0x" + "2" * 64)
    assert (by_key.access_token, type(by_key.caller.credential)) == (None, WalletKey)
    assert "2222" not in repr(by_key)


@WAYS
@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("base_url", "http://calls.example.com", ConfigurationError),
        ("private_key", "0x12", ConfigurationError),
        ("max_wait", -1, ConfigurationError),
        ("approval", "sometimes", ConfigurationError),
        ("approve", True, TypeError),
    ],
)
def test_a_change_that_can_t_be_is_refused_and_changes_nothing(
    tool: VoiceCallTool, change: Change, name: str, value: object, refusal: type[Exception]
) -> None:
    """As it would be at the beginning."""
    before, caller = tool.model_dump(), tool.caller
    with pytest.raises(refusal):
        change(tool, **{name: value})
    assert (tool.model_dump(), tool.caller) == (before, caller)


def test_a_copy_is_changed_by_itself(tool: VoiceCallTool) -> None:
    """Neither kind of copy shares its settings with the first tool."""
    for made in (copy.copy(tool), copy.deepcopy(tool), tool.model_copy(deep=True)):
        made.base_url = LOCAL
        assert made.caller.environment.base_url == LOCAL
        assert tool.caller.environment.base_url != LOCAL


def test_a_copy_of_a_caller_is_the_caller(tool: VoiceCallTool) -> None:
    """It is frozen."""
    assert copy.copy(tool.caller) is copy.deepcopy(tool.caller) is tool.caller


def test_a_run_can_t_be_given_another_tool(tool: VoiceCallTool) -> None:
    """LangChain would make one of the environment's settings: another wallet, and nobody asked."""
    with pytest.raises(TypeError, match="function of the run's config"):
        tool.configurable_fields(description=ConfigurableField(id="description"))


@pytest.mark.parametrize("name", ["approval", "policy", "base_url", "private_key"])
async def test_a_setting_of_one_run_is_refused(tool: VoiceCallTool, name: str) -> None:
    """A `bind` that is ignored would call without asking."""
    request = {"objective": "Ask when they close.", "target_number": "+14155550100"}
    bound = tool.bind(**{name: "interrupt"})
    with pytest.raises(TypeError, match=f"`{name}` is a setting of the tool"):
        bound.invoke(request)
    with pytest.raises(TypeError, match=f"`{name}` is a setting of the tool"):
        await bound.ainvoke(request)


def test_a_copy_shares_the_journal() -> None:
    """It is the record of both."""
    journal = CallJournal("memory")
    tool = VoiceCallTool(private_key=KEY, journal=journal)
    assert copy.deepcopy(tool).journal is journal
    assert copy.deepcopy(tool).caller.journal is journal


def test_the_framework_s_own_fields_can_be_assigned(tool: VoiceCallTool) -> None:
    """A tool's name, description, callbacks, tags and metadata are LangChain's business."""
    assigned(
        tool, name="phone", description="A phone.", tags=["a"], metadata={"b": 1}, callbacks=[]
    )
    assert (tool.name, tool.tags, tool.metadata) == ("phone", ["a"], {"b": 1})


@pytest.mark.parametrize(
    ("what", "name", "message"),
    [
        (VoiceCallTool, "approve", "`approve` is not an argument of VoiceCallTool; did you mean"),
        (VoiceCallTool, "colour", "`colour` is not an argument of VoiceCallTool[.]"),
        (VoiceCaller, "aproval", "`aproval` is not an argument of VoiceCaller; did you mean"),
        (Sandbox, "call_second", "`call_second` is not an argument of Sandbox; did you mean"),
    ],
)
def test_an_argument_that_is_not_known_is_refused(what: Any, name: str, message: str) -> None:
    """In words that name the argument that was meant."""
    given = (WalletKey(SecretStr(KEY)),) if what is VoiceCaller else ()
    with pytest.raises(TypeError, match=message):
        what(*given, **{name: "interrupt"})


def test_a_subclass_has_fields_of_its_own() -> None:
    """They are given, changed and misspelt like the tool's."""

    class Reception(VoiceCallTool):
        desk: str = "front"

    made: Any = Reception
    reception = made(private_key=KEY, journal="memory", desk="back")
    assert (reception.desk, reception.model_copy(update={"desk": "side"}).desk) == ("back", "side")
    with pytest.raises(TypeError, match="`desks` is not an argument of Reception; did you mean"):
        made(private_key=KEY, journal="memory", desks="back")


def test_neither_tool_nor_caller_can_be_pickled(tool: VoiceCallTool) -> None:
    """A key in a pickle is a key on a disk."""
    for secret in (tool, tool.caller):
        with pytest.raises(TypeError, match="Create a new one"):
            pickle.dumps(secret)


def test_a_dump_of_the_tool_holds_no_secret() -> None:
    """In Python or as JSON, whatever it is set to."""
    url = "postgresql://me:a-password@127.0.0.1/calls"
    tool = VoiceCallTool(
        private_key=KEY, journal=url, policy=lambda _config: CallPolicy(), approval=print
    )
    told = f"{tool.model_dump()} {tool.model_dump_json()} {tool!r}"
    assert (KEY[2:] in told, "a-password" in told) == (False, False)
    assert json.loads(tool.model_dump_json())["args_schema"] == "VoiceCallInput"
