"""Agents that stop for a person before they call, and a process of its own that they can die in.

Run as a program, it makes one agent per case stop for its question and is then killed; run again,
it gives each its answers. Both leave what they saw in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from placing import arguments, tool_call
from scripted_model import calls_then_says

from langchain_oneshot_voice import VoiceCallTool

Ask = Callable[[Any], dict[str, Any]]
"""Gives a graph its input or an answer, and returns what it comes back with."""


def calling(*numbers: str, **more: Any) -> list[dict[str, Any]]:
    """One tool call for each number, all in one message of the model's."""
    return [tool_call(f"call-{n}", **arguments(n, **more)) for n in numbers]


def in_thread(name: str = "thread-1") -> RunnableConfig:
    """The config of one conversation."""
    return {"configurable": {"thread_id": name}}


@contextmanager
def agent_on_disk(
    file: Path, tool: VoiceCallTool, *calls: dict[str, Any], **options: Any
) -> Iterator[Any]:
    """A `create_agent` graph that makes these tool calls, its checkpoints in SQLite."""
    with SqliteSaver.from_conn_string(str(file)) as saver:
        yield create_agent(calls_then_says(*calls), [tool], checkpointer=saver, **options)


@asynccontextmanager
async def async_agent_on_disk(
    file: Path, tool: VoiceCallTool, *calls: dict[str, Any], **options: Any
) -> AsyncIterator[Any]:
    """The same, for `ainvoke`."""
    async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
        yield create_agent(calls_then_says(*calls), [tool], checkpointer=saver, **options)


def questions(state: dict[str, Any]) -> list[Any]:
    """The interrupts that a graph stopped with."""
    return list(state.get("__interrupt__", ()))


def answers(state: dict[str, Any]) -> dict[str, ToolMessage]:
    """The tool's messages, by their tool calls."""
    return {m.tool_call_id: m for m in state["messages"] if isinstance(m, ToolMessage)}


def edit(number: str, **more: Any) -> dict[str, Any]:
    """The answer that wants another call made instead."""
    action = {"name": "voice_call", "args": arguments(number, **more)}
    return {"type": "edit", "edited_action": action}


def _seen(state: dict[str, Any]) -> dict[str, Any]:
    """What can be told of a graph's state across processes."""
    return {
        "questions": [
            {"id": q.id, "value": q.value, "schema": q.response_schema} for q in questions(state)
        ],
        "answers": {
            call_id: [message.status, message.content, message.artifact.call_status]
            for call_id, message in answers(state).items()
        },
    }


def _resume(case: dict[str, Any], asked: list[dict[str, Any]]) -> Any:
    """The answers to what was asked, as one command."""
    of = case["answers"]
    if len(asked) == 1:
        return Command(resume=of[0])
    by_number = {q["value"]["args"]["target_number"]: q["id"] for q in asked}
    numbers = [call["args"]["target_number"] for call in case["calls"]]
    return Command(resume={by_number[n]: of[i] for i, n in enumerate(numbers)})


async def _run(folder: Path, cases: list[dict[str, Any]], tool: VoiceCallTool) -> dict[str, Any]:
    told_before = folder / "asked.json"
    before = json.loads(told_before.read_text()) if told_before.exists() else None
    told: dict[str, Any] = {}
    with ExitStack() as stack:
        async with AsyncExitStack() as async_stack:
            for case in cases:
                name, file = case["name"], folder / f"{case['name']}.sqlite"
                given: Any = {"messages": [("user", "Please call.")]}
                if before is not None:
                    given = _resume(case, before[name]["questions"])
                if case["async"]:
                    agent = await async_stack.enter_async_context(
                        async_agent_on_disk(file, tool, *case["calls"])
                    )
                    told[name] = _seen(await agent.ainvoke(given, in_thread(name)))
                else:
                    agent = stack.enter_context(agent_on_disk(file, tool, *case["calls"]))
                    # Blocks the running loop on purpose, as a notebook's cell does.
                    told[name] = _seen(agent.invoke(given, in_thread(name)))
            (folder / ("asked.json" if before is None else "answered.json")).write_text(
                json.dumps(told)
            )
            if before is None:
                os.kill(os.getpid(), signal.SIGKILL)
    return told


def main() -> None:
    """Ask, and be killed; or answer, where it was asked before."""
    from placing import at_any_hour

    folder = Path(sys.argv[1])
    tool = VoiceCallTool(
        journal=str(folder / "calls.sqlite"), policy=at_any_hour(), approval="interrupt"
    )
    asyncio.run(_run(folder, json.loads((folder / "cases.json").read_text()), tool))


if __name__ == "__main__":
    main()
