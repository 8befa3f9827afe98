"""Once a call is placed its outcome is not lost to weather: one call, one payment, one outcome."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import MakeTool
from placing import NUMBER, legs, signatures, tool_call

from langchain_oneshot_voice import Sandbox, ServiceUnavailableError, VoiceCallResult
from langchain_oneshot_voice.sandbox import CallScript, Fault

SOCKETLESS = Fault("socket", "refuse", times=1000)
POLL_FAULTS = {
    "429": Fault("poll", "status_429", times=3),
    "429 with Retry-After": Fault("poll", "status_429", times=1, retry_after=1),
    "500": Fault("poll", "status_500", times=3),
    "502 from a proxy": Fault("poll", "status_502_html", times=3),
    "503": Fault("poll", "status_503", times=3),
    "an early 404": Fault("poll", "status_404", times=3),
    "409": Fault("poll", "status_409", times=1),
    "a web page as 200": Fault("poll", "html_200", times=3),
    "broken JSON": Fault("poll", "garbage", times=3),
    "connection refused": Fault("poll", "refuse", times=2),
    "reset": Fault("poll", "reset_before", times=2),
    "reset after answering": Fault("poll", "reset_after", times=2),
    "dropped answer": Fault("poll", "drop_reply", times=2),
    "answer cut short": Fault("poll", "truncate", times=2),
    "no answer": Fault("poll", "hang_before", times=1),
}
SOCKET_FAULTS = {
    "refused": Fault("socket", "refuse", times=1000),
    "refused as unknown": Fault("socket", "refuse", times=1000, status=404),
    "refused as unauthorized": Fault("socket", "refuse", times=1000, status=401),
    "silent": Fault("socket", "silent", times=1000),
    "closed": Fault("socket", "close", times=1000),
    "closed once": Fault("socket", "close", times=1),
    "reset at the handshake": Fault("socket", "reset_before", times=1000),
    "reset": Fault("socket", "reset_after", times=1000),
    "broken messages": Fault("socket", "garbage", times=1000),
}


def require_one_outcome(sandbox: Sandbox, result: VoiceCallResult) -> None:
    """One phone rang once, one payment was signed and settled, and the outcome is whole."""
    assert len(sandbox.rings) == 1
    assert len(sandbox.payments) == len(set(signatures(sandbox))) == 1
    assert (result.call_status, result.call_successful) == ("completed", "success")
    assert result.transcript


@pytest.mark.parametrize("fault", POLL_FAULTS.values(), ids=POLL_FAULTS)
def test_polling_outlasts(fault: Fault, make_tool: MakeTool, sandbox: Sandbox) -> None:
    """Without a socket, whatever a poll is answered with, the outcome comes in the end."""
    sandbox.inject(SOCKETLESS)
    sandbox.inject(fault)
    message = make_tool().invoke(tool_call())

    require_one_outcome(sandbox, message.artifact)
    assert len(legs(sandbox, "poll")) > fault.times


@pytest.mark.parametrize("fault", SOCKET_FAULTS.values(), ids=SOCKET_FAULTS)
def test_socket_may_fail(fault: Fault, make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A socket that is refused, silent, closed or garbled is made up for by polling."""
    sandbox.inject(fault)
    message = make_tool().invoke(tool_call())

    require_one_outcome(sandbox, message.artifact)


def test_socket_and_polls_may_fail_together(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A closed socket and every kind of bad poll in a row cost nothing but time."""
    sandbox.inject(Fault("socket", "close", times=1000))
    for kind in ("status_500", "html_200", "drop_reply", "status_404", "garbage"):
        sandbox.inject(Fault("poll", kind))
    message = make_tool().invoke(tool_call())

    require_one_outcome(sandbox, message.artifact)


def test_retry_after_is_respected(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A service that asks for a second's rest is not polled before it is over."""
    sandbox.inject(SOCKETLESS)
    sandbox.inject(Fault("poll", "status_429", retry_after=1))
    began = time.monotonic()
    message = make_tool().invoke(tool_call())

    require_one_outcome(sandbox, message.artifact)
    assert time.monotonic() - began > 1.0
    assert len(legs(sandbox, "poll")) == 2


def test_socket_alone_is_enough(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """With a healthy socket the outcome is heard without a single poll."""
    message = make_tool().invoke(tool_call())

    require_one_outcome(sandbox, message.artifact)
    assert legs(sandbox, "poll") == []


def test_outage_while_the_phone_rings(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A service that goes down after placing the call and comes back still tells the outcome."""
    sandbox.expect(NUMBER, CallScript(seconds=0.3))
    tool = make_tool()
    with ThreadPoolExecutor(1) as worker:
        waiting = worker.submit(tool.invoke, tool_call())
        sandbox.wait_until(lambda: bool(legs(sandbox, "socket")))
        sandbox.stop()
        sandbox.start()
        message = waiting.result(timeout=20)

    require_one_outcome(sandbox, message.artifact)


def test_wait_that_runs_out_is_a_result(make_tool: MakeTool, sandbox: Sandbox) -> None:
    """When the outcome takes longer than the wait, the request id comes back; no error."""
    sandbox.expect(NUMBER, CallScript(seconds=60))
    message = make_tool(max_wait=0.4).invoke(tool_call())

    assert message.status == "success"
    assert message.artifact.call_status == "in_progress"
    assert message.artifact.request_id == sandbox.calls[0].request_id
    assert message.artifact.request_id in message.content
    assert "Do not place it again" in message.content


def test_wait_that_runs_out_in_bad_weather_is_a_result(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A service that fails for as long as anyone waits does not make a placed call an error."""
    sandbox.inject(SOCKETLESS)
    sandbox.inject(Fault("poll", "status_500", times=1000))
    message = make_tool(max_wait=0.5).invoke(tool_call())

    assert message.artifact.call_status == "in_progress"
    assert len(sandbox.payments) == 1


def test_asking_again_after_the_wait_reads_the_outcome(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """The same tool call later waits on the same request, and pays nothing."""
    sandbox.expect(NUMBER, CallScript(seconds=0.8))
    tool = make_tool(max_wait=0.3)
    first = tool.invoke(tool_call())
    sandbox.wait_until(lambda: sandbox.calls[0].status == "completed")
    second = tool.invoke(tool_call())

    assert first.artifact.call_status == "in_progress"
    assert second.artifact.request_id == first.artifact.request_id
    require_one_outcome(sandbox, second.artifact)


QUOTE_FAULTS = {
    "429": Fault("quote", "status_429", times=2),
    "503": Fault("quote", "status_503", times=2),
    "a web page as 200": Fault("quote", "html_200", times=2),
    "dropped answer": Fault("quote", "drop_reply", times=2),
    "connection refused": Fault("quote", "refuse", times=2),
}


@pytest.mark.parametrize("fault", QUOTE_FAULTS.values(), ids=QUOTE_FAULTS)
def test_quote_is_asked_for_again(fault: Fault, make_tool: MakeTool, sandbox: Sandbox) -> None:
    """A quote costs nothing, so it is asked for again until there is one."""
    sandbox.inject(fault)
    message = make_tool().invoke(tool_call())

    require_one_outcome(sandbox, message.artifact)


@pytest.mark.parametrize("kind", ["status_429", "status_502_html", "drop_reply"])
def test_service_that_stays_down_is_our_error(
    kind: str, make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A service that never quotes is a `ServiceUnavailableError`: nothing charged, try later."""
    sandbox.inject(Fault("quote", kind, times=1000))  # type: ignore[arg-type]
    tool = make_tool(handle_tool_error=False)
    with pytest.raises(ServiceUnavailableError) as down:
        tool.invoke(tool_call())

    assert (down.value.charged, down.value.safe_to_retry) == ("no", True)
    assert signatures(sandbox) == []


@pytest.mark.parametrize("handled", [False, True])
def test_unreachable_service_is_our_error(
    make_tool: MakeTool, sandbox: Sandbox, *, handled: bool
) -> None:
    """When nobody listens at the address, the error is ours and in plain words, not httpx's."""
    sandbox.stop()
    tool = make_tool(handle_tool_error=handled)
    if handled:
        message = tool.invoke(tool_call())
        assert message.status == "error"
        assert "could not be reached" in message.content
        assert "Nothing was charged." in message.content
    else:
        with pytest.raises(ServiceUnavailableError, match="could not be reached") as down:
            tool.invoke(tool_call())
        assert down.value.__cause__ is None
        assert down.value.__suppress_context__
