"""Where a call is, told to whoever listens, without harm to the call."""

from __future__ import annotations

import asyncio
import logging
import threading
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager
from langchain_core.runnables import RunnableConfig, RunnableLambda

from langchain_oneshot_voice import CallProgress, VoiceCallQuote
from langchain_oneshot_voice.call_states import Stage
from langchain_oneshot_voice.progress import EVENT, OnProgress, ProgressReporter

NUMBER = "+14155550100"
QUOTE = VoiceCallQuote(
    quote_id="q", total=Decimal("1.75"), numbers=(NUMBER,), raw={"target_numbers": [NUMBER]}
)


def teller(
    on_progress: OnProgress | None, config: RunnableConfig | None = None
) -> ProgressReporter:
    """A teller for one call."""
    return ProgressReporter("key", (NUMBER,), on_progress, config)


async def told_at_once(telling: ProgressReporter, stage: Stage, **news: Any) -> None:
    """Tell one step, and wait for the listeners."""
    await telling.report(stage, **news)
    await telling.wait_for_listeners(10)


async def test_function_is_told() -> None:
    """A plain function is told each step, with what was told before."""
    told: list[CallProgress] = []
    telling = teller(told.append)
    await telling.report("quoted", cost=QUOTE.total, quote=QUOTE)
    await telling.report("placed", request_id="req_1")
    await telling.wait_for_listeners(10)

    assert [step.stage for step in told] == ["quoted", "placed"]
    assert (told[1].cost, told[1].request_id, told[1].quote) == (QUOTE.total, "req_1", None)
    assert told[0].elapsed_seconds <= told[1].elapsed_seconds


async def test_coroutine_function_is_told() -> None:
    """An async function is awaited."""
    told: list[CallProgress] = []

    async def listen(progress: CallProgress) -> None:
        told.append(progress)

    await told_at_once(teller(listen), "paying")

    assert [step.stage for step in told] == ["paying"]


async def test_numbers_are_masked() -> None:
    """No listener is told a whole number, not even inside the quote."""
    told: list[CallProgress] = []
    await told_at_once(teller(told.append), "quoted", quote=QUOTE)

    assert NUMBER not in told[0].model_dump_json()
    assert NUMBER not in repr(told[0])


@pytest.mark.parametrize(
    "fault", [ValueError, asyncio.CancelledError, KeyboardInterrupt, SystemExit]
)
async def test_failing_listener_is_logged_once_and_told_on(
    caplog: pytest.LogCaptureFixture, fault: type[BaseException]
) -> None:
    """Whatever a listener raises, the call goes on, and the other listeners are told."""
    told: list[str] = []

    def fails(step: CallProgress) -> None:
        told.append(step.stage)
        raise fault("listener broke")

    telling = teller(fails)
    with caplog.at_level(logging.ERROR):
        for stage in ("quoted", "paying", "placed"):
            await telling.report(stage)
        await telling.wait_for_listeners(10)

    assert told == ["quoted", "paying", "placed"]
    assert caplog.text.count("a progress listener failed") == 1


async def test_slow_listener_holds_nothing_up() -> None:
    """Steps are told in their order when it is ready for them; nobody waits for it."""
    ready, told = threading.Event(), list[str]()

    def slow(step: CallProgress) -> None:
        assert ready.wait(20)
        told.append(step.stage)

    telling = teller(slow)
    for stage in ("quoted", "paying", "placed"):
        await telling.report(stage)
    await telling.wait_for_listeners(0.01)
    assert told == []
    ready.set()
    await telling.wait_for_listeners(10)
    assert told == ["quoted", "paying", "placed"]


async def test_listener_that_never_is_ready_is_told_a_bounded_number_of_steps() -> None:
    """What waits to be told does not grow for as long as a call lasts."""
    ready, told = threading.Event(), list[str]()

    def stuck(step: CallProgress) -> None:
        assert ready.wait(20)
        told.append(step.stage)

    telling = teller(stuck)
    for _ in range(1000):
        await telling.report("in_progress")
    ready.set()
    await telling.wait_for_listeners(10)
    assert 50 < len(told) < 200


async def test_custom_events_are_dispatched() -> None:
    """LangChain's callbacks hear each step as a custom event of the tool's run."""
    heard: list[tuple[str, Any]] = []

    class Handler(AsyncCallbackHandler):
        async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
            heard.append((name, data))

    async def step(_: str, config: RunnableConfig) -> str:
        await told_at_once(teller(None, config), "paying")
        return ""

    await RunnableLambda(step).ainvoke(
        "x", config={"callbacks": AsyncCallbackManager([Handler()], [Handler()])}
    )

    assert (heard[0][0], heard[0][1]["stage"]) == (EVENT, "paying")


async def test_nobody_listening_is_fine() -> None:
    """Outside a graph, without callbacks and without a function, telling does nothing."""
    await teller(None).report("paying")
