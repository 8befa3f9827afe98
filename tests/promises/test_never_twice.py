"""Never twice: many at once, and a call that was cancelled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from phone import A, B, build_tool, ledger
from placing import arguments, at_any_hour, tool_call

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallInput, VoiceCallTool

UNLIMITED = at_any_hour(
    duplicate_window=None, max_cost_per_day=None, max_calls_per_number_per_day=None
)
THREAD: RunnableConfig = {"configurable": {"thread_id": "thread-1"}}
ORDER: RunnableConfig = {"configurable": {"idempotency_key": "order-7"}}
AT_ONCE = 8
AT_ONCE_SECONDS = 2.0
NUMBERS = [f"+141555501{n}" for n in range(20, 32)]


@pytest.fixture
def tool(sandbox: Sandbox, journal: CallJournal) -> VoiceCallTool:
    """A tool without a duplicate guard, which would hide a second call."""
    return build_tool(sandbox, journal, policy=UNLIMITED)


def at_once(functions: list[Callable[[], Any]]) -> list[Any]:
    """Run functions in threads that start at the same moment; return their results."""
    together = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> Any:
        together.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(run, functions))


# Many at once


@pytest.mark.parametrize("run", ["invoke", "ainvoke"])
def test_one_tool_call_many_times_at_once_is_paid_once(
    tool: VoiceCallTool, sandbox: Sandbox, run: str
) -> None:
    """Eight runs of one tool call of one thread at once: one payment, and one outcome for all."""
    call = tool_call(**arguments(A))
    if run == "invoke":
        messages = at_once([lambda: tool.invoke(call, THREAD)] * AT_ONCE)
    else:

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(tool.ainvoke(call, THREAD) for _ in range(AT_ONCE)))

        messages = asyncio.run(all_of_them())
    outcomes = {(m.artifact.call_status, m.artifact.request_id) for m in messages}
    assert (len(outcomes), ledger(sandbox)) == (1, ([A], 1))


@pytest.mark.parametrize("round_", range(3))
def test_tool_call_without_a_thread_is_paid_once_at_once(
    tool: VoiceCallTool, sandbox: Sandbox, round_: int
) -> None:
    """Two threads run one tool call id at once, without thread id and duplicate window."""
    call = tool_call(f"call-{round_}", **arguments(A))
    messages = at_once([lambda: tool.invoke(call)] * 2)
    outcomes = {(m.artifact.call_status, m.artifact.request_id) for m in messages}
    assert (len(outcomes), ledger(sandbox)) == (1, ([A], 1))


@pytest.mark.parametrize("share", ["one journal", "one file"])
@pytest.mark.parametrize("through", ["tool", "caller"])
def test_one_idempotency_key_at_once_is_paid_once(
    sandbox: Sandbox, tmp_path: Path, share: str, through: str
) -> None:
    """Two callers use one idempotency key at once: one payment, and one outcome for both."""
    one = CallJournal(tmp_path / "shared.sqlite")
    two = one if share == "one journal" else CallJournal(tmp_path / "shared.sqlite")
    tools = [build_tool(sandbox, journal, policy=UNLIMITED) for journal in (one, two)]
    request = VoiceCallInput(**arguments(A))

    def result_of(tool: VoiceCallTool) -> Any:
        if through == "caller":
            return tool.caller.call(request, config=ORDER)
        return tool.invoke(tool_call(**arguments(A)), ORDER).artifact

    results = at_once([lambda tool=tool: result_of(tool) for tool in tools])  # type: ignore[misc]
    outcomes = {(r.call_status, r.request_id) for r in results}
    assert (len(outcomes), ledger(sandbox)) == (1, ([A], 1))


@pytest.mark.parametrize("through", ["tool", "caller"])
def test_idempotency_key_is_one_call_later_too(
    tool: VoiceCallTool, sandbox: Sandbox, through: str
) -> None:
    """The same key again, after the call has ended: its outcome, and no payment."""
    request = VoiceCallInput(**arguments(A))
    for _ in range(2):
        if through == "caller":
            tool.caller.call(request, config=ORDER)
        else:
            tool.invoke(arguments(A), ORDER)
    assert ledger(sandbox) == ([A], 1)


def test_many_different_calls_at_once_are_each_paid_once(
    tool: VoiceCallTool, sandbox: Sandbox
) -> None:
    """Twelve calls of one process at once, each run twice: twelve payments."""
    calls = [tool_call(f"call-{n}", **arguments(n)) for n in NUMBERS] * 2
    at_once([lambda call=call: tool.invoke(call, THREAD) for call in calls])  # type: ignore[misc]
    assert ledger(sandbox) == (NUMBERS, len(NUMBERS))


def test_call_outside_a_graph_is_a_new_one_each_time(tool: VoiceCallTool, sandbox: Sandbox) -> None:
    """A plain `invoke` without graph, ids and duplicate window: two calls."""
    for _ in range(2):
        tool.invoke(arguments(B))
    assert ledger(sandbox) == ([B, B], 2)


# Cancelled


async def completed_at_once(tool: VoiceCallTool, call: dict[str, Any]) -> bool:
    """Run a tool call; tell whether it was completed long before a dead worker's would be."""
    begun = time.monotonic()
    message = await tool.ainvoke(call, THREAD)
    status = getattr(message.artifact, "call_status", message.content)
    return (status, time.monotonic() - begun < AT_ONCE_SECONDS) == ("completed", True)


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 3, 5, 8, 13, 20])
async def test_cancelled_call_can_be_made_at_once(
    sandbox: Sandbox, journal: CallJournal, milliseconds: int
) -> None:
    """Cancelled at some moment, the same tool call is completed without a wait, and paid once."""
    tool = build_tool(sandbox, journal, policy=UNLIMITED, max_wait=3.0)
    await tool.ainvoke(arguments(A))  # what is loaded on the first use must not count
    numbers = NUMBERS[:3]
    for number in numbers:
        call = tool_call(f"call-{number}", **arguments(number))
        running = asyncio.create_task(tool.ainvoke(call, THREAD))
        await asyncio.sleep(milliseconds / 1000)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert await completed_at_once(tool, call)
    assert ledger(sandbox) == (sorted([A, *numbers]), len(numbers) + 1)


@pytest.mark.parametrize("milliseconds", [0, 5, 20])
async def test_cancelled_call_can_be_made_by_another_worker_at_once(
    tool: VoiceCallTool, sandbox: Sandbox, tmp_path: Path, milliseconds: int
) -> None:
    """A second journal on the same file takes the cancelled call over without a wait."""
    journals = [CallJournal(tmp_path / "shared.sqlite") for _ in range(2)]
    first, second = (build_tool(sandbox, j, policy=UNLIMITED, max_wait=3.0) for j in journals)
    await tool.ainvoke(arguments(A))
    running = asyncio.create_task(first.ainvoke(tool_call(**arguments(B)), THREAD))
    await asyncio.sleep(milliseconds / 1000)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await completed_at_once(second, tool_call(**arguments(B)))
    assert ledger(sandbox) == ([A, B], 2)
