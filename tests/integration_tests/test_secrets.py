"""A key is seen by nobody: not in logs, traces, errors or dumps; nor is a number at INFO."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeTool
from langchain_core.load import dumps
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run
from placing import NUMBER, legs, signatures, tool_call

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallError, VoiceCallTool
from langchain_oneshot_voice.sandbox import Fault


class CollectingTracer(BaseTracer):
    """A tracer that keeps what LangChain would send to a tracing service."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger of the process, those of HTTP and WebSocket clients too, at DEBUG."""
    names = ("httpx", "httpcore", "websockets", "websockets.client", "langchain_oneshot_voice")
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield caplog
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def by_key(make_tool: MakeTool, sandbox: Sandbox) -> tuple[VoiceCallTool, str]:
    """A tool that pays from a wallet, and its secret."""
    return make_tool(), sandbox.private_key.removeprefix("0x")


def by_token(make_tool: MakeTool, sandbox: Sandbox) -> tuple[VoiceCallTool, str]:
    """A tool that pays from credits, and its secret."""
    token = sandbox.access_token
    return make_tool(access_token=token), token.removeprefix("oneshot_")


MadeBy = Callable[[MakeTool, Sandbox], tuple[VoiceCallTool, str]]
BOTH = pytest.mark.parametrize("made_by", [by_key, by_token], ids=["key", "token"])


def ours(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged on the client's side; the sandbox is the other side."""
    return "\n".join(
        f"{record.name} {record.getMessage()} {record.exc_text or ''} {record.args!r}"
        for record in caplog.records
        if ".sandbox" not in record.name and not record.name.startswith("uvicorn")
    )


@BOTH
def test_logs_at_debug_hold_no_secret(
    made_by: MadeBy,
    make_tool: MakeTool,
    sandbox: Sandbox,
    everything_logged: pytest.LogCaptureFixture,
) -> None:
    """Neither our loggers nor those below us write the key, the token or a signed payment."""
    tool, secret = made_by(make_tool, sandbox)
    sandbox.inject(Fault("socket", "close"))
    sandbox.inject(Fault("poll", "status_500"))
    tool.invoke(tool_call())
    logged = ours(everything_logged)

    assert "langchain_oneshot_voice" in logged
    assert secret not in logged
    assert not any(header in logged for header in signatures(sandbox))


def test_logs_at_info_hold_no_whole_number(
    make_tool: MakeTool, sandbox: Sandbox, everything_logged: pytest.LogCaptureFixture
) -> None:
    """At INFO and above the person called is masked."""
    make_tool().invoke(tool_call())
    at_info = [
        record.getMessage()
        for record in everything_logged.records
        if record.levelno >= logging.INFO and record.name.startswith("langchain_oneshot_voice")
    ]

    assert sandbox.rings
    assert any("placed" in line for line in at_info)
    assert not any(NUMBER in line or NUMBER[1:] in line for line in at_info)


@BOTH
@pytest.mark.parametrize("ending", ["unreachable", "refused", "terms", "unpaid"])
def test_tracebacks_with_locals_hold_no_secret(
    ending: str, made_by: MadeBy, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Even a traceback that prints every local variable of every frame shows no secret."""
    tool, secret = made_by(make_tool, sandbox)
    tool.handle_tool_error = False
    if ending == "unreachable":
        sandbox.stop()
    elif ending == "refused":
        sandbox.deny_action("no-calls")
    elif ending == "unpaid":
        sandbox.set_balance(sandbox.address, Decimal(0))
        refused = {"error": "insufficient_credits", "message": "No."}
        sandbox.tamper("paid", lambda _, headers, __: (402, headers, refused))
    else:
        sandbox.tamper("quote", lambda status, headers, _: (status, headers, {"context": {}}))
    with pytest.raises(VoiceCallError) as raised:
        tool.invoke(tool_call())
    assert raised.value.__traceback__ is not None
    below_this_test = raised.value.with_traceback(raised.value.__traceback__.tb_next)
    shown = "".join(
        traceback.TracebackException.from_exception(below_this_test, capture_locals=True).format()
    )

    assert "oneshot/client.py" in shown
    assert secret not in shown
    assert not any(header in shown for header in signatures(sandbox))
    assert secret not in f"{raised.value!r} {vars(raised.value)!r} {raised.value.args!r}"


@BOTH
def test_traces_hold_no_secret(made_by: MadeBy, make_tool: MakeTool, sandbox: Sandbox) -> None:
    """The run that a tracer is handed, whole, shows no secret and no signed payment."""
    tool, secret = made_by(make_tool, sandbox)
    tracer = CollectingTracer()
    tool.invoke(tool_call(), config={"callbacks": [tracer]})
    traced = "".join(f"{run!r} {run.model_dump_json(fallback=repr)}" for run in tracer.runs)

    assert "voice_call" in traced
    assert secret not in traced
    assert not any(header in traced for header in signatures(sandbox))


@BOTH
def test_trace_of_an_error_holds_no_secret(
    made_by: MadeBy, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The same for a run that ends in an error."""
    tool, secret = made_by(make_tool, sandbox)
    tool.handle_tool_error = False
    sandbox.deny_action("no-calls")
    tracer = CollectingTracer()
    with pytest.raises(VoiceCallError):
        tool.invoke(tool_call(), config={"callbacks": [tracer]})
    traced = "".join(f"{run!r} {run.model_dump_json(fallback=repr)}" for run in tracer.runs)

    assert "CallRefusedError" in traced
    assert secret not in traced


@BOTH
def test_tool_and_message_hold_no_secret_after_a_call(
    made_by: MadeBy, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """Having signed changes nothing: tool, caller, message and result show no secret."""
    tool, secret = made_by(make_tool, sandbox)
    message = tool.invoke(tool_call())
    shown: list[Any] = [
        repr(tool),
        str(tool.model_dump()),
        dumps(tool),
        repr(vars(tool.caller)),
        repr(vars(tool.caller.credential)),
        repr(message),
        dumps(message),
        message.artifact.model_dump_json(),
        repr(message.artifact.raw),
    ]

    assert secret not in " ".join(shown)


def test_key_never_leaves_the_machine(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """No request carries the wallet's key, in a header, a path or a body."""
    tool, secret = by_key(make_tool, sandbox)
    sandbox.inject(Fault("socket", "close"))
    tool.invoke(tool_call())
    sent = " ".join(f"{r.headers} {r.path} {r.body}" for r in sandbox.requests)

    assert legs(sandbox, "paid")
    assert secret not in sent


def test_journal_holds_no_key(
    make_tool: MakeTool, sandbox: Sandbox, journal_file: CallJournal, tmp_path: Path
) -> None:
    """The record of calls on disk does not hold the key that paid for them."""
    secret = sandbox.private_key.removeprefix("0x")
    make_tool(journal=journal_file).invoke(tool_call())
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"SQLite" in written
    assert secret.encode() not in written
    assert bytes.fromhex(secret) not in written
