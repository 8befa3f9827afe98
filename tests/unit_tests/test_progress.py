"""Where a call is, told to whoever listens, without harm to the call."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager
from langchain_core.runnables import RunnableConfig, RunnableLambda

from langchain_oneshot_voice import CallProgress, VoiceCallQuote
from langchain_oneshot_voice.progress import EVENT, OnProgress, ProgressTeller

NUMBER = "+14155550100"
QUOTE = VoiceCallQuote(
    quote_id="q", total=Decimal("1.75"), numbers=(NUMBER,), raw={"target_numbers": [NUMBER]}
)


def teller(on_progress: OnProgress | None, config: RunnableConfig | None = None) -> ProgressTeller:
    """A teller for one call."""
    return ProgressTeller("key", (NUMBER,), on_progress, config)


async def test_function_is_told() -> None:
    """A plain function is told each step, with what was told before."""
    told: list[CallProgress] = []
    telling = teller(told.append)
    await telling.tell("quoted", cost=QUOTE.total, quote=QUOTE)
    await telling.tell("placed", request_id="req_1")

    assert [step.stage for step in told] == ["quoted", "placed"]
    assert (told[1].cost, told[1].request_id, told[1].quote) == (QUOTE.total, "req_1", None)
    assert told[0].elapsed_seconds <= told[1].elapsed_seconds


async def test_coroutine_function_is_told() -> None:
    """An async function is awaited."""
    told: list[CallProgress] = []

    async def listen(progress: CallProgress) -> None:
        told.append(progress)

    await teller(listen).tell("paying")

    assert [step.stage for step in told] == ["paying"]


async def test_numbers_are_masked() -> None:
    """No listener is told a whole number, not even inside the quote."""
    told: list[CallProgress] = []
    await teller(told.append).tell("quoted", quote=QUOTE)

    assert NUMBER not in told[0].model_dump_json()
    assert NUMBER not in repr(told[0])


async def test_failing_listener_does_not_stop_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """What a listener raises is logged, and the others are told all the same."""

    def fails(_: CallProgress) -> None:
        raise ValueError("listener broke")

    with caplog.at_level(logging.ERROR):
        await teller(fails).tell("paying")

    assert "a progress listener failed" in caplog.text


async def test_custom_events_are_dispatched() -> None:
    """LangChain's callbacks hear each step as a custom event of the tool's run."""
    heard: list[tuple[str, Any]] = []

    class Handler(AsyncCallbackHandler):
        async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
            heard.append((name, data))

    async def step(_: str, config: RunnableConfig) -> str:
        await teller(None, config).tell("paying")
        return ""

    await RunnableLambda(step).ainvoke(
        "x", config={"callbacks": AsyncCallbackManager([Handler()], [Handler()])}
    )

    assert (heard[0][0], heard[0][1]["stage"]) == (EVENT, "paying")


async def test_nobody_listening_is_fine() -> None:
    """Outside a graph, without callbacks and without a function, telling does nothing."""
    await teller(None).tell("paying")
