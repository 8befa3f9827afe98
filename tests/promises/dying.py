"""Graphs that place calls, run by a process that is killed and then by another one.

Run as a program, it starts every case at once, each in a thread, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graphs import INPUT, THREAD, Graph, Script, one_node, tool_calls, tool_node
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command
from phone import APPROVE
from placing import arguments, at_any_hour

from langchain_oneshot_voice import CallProgress, VoiceCallTool

Saver = BaseCheckpointSaver[Any]


@dataclass(frozen=True)
class Case:
    """One graph with one call, and how its question is answered before the process dies."""

    name: str
    number: str
    build: Callable[[VoiceCallTool, str, Saver], Graph]
    given: dict[str, Any]
    approval: Literal["never", "interrupt"] = "never"
    style: str = ""
    is_async: bool = False

    def tool(self, on_progress: Callable[[CallProgress], None] | None = None) -> VoiceCallTool:
        """Build the case's tool with default timing; the environment names journal and service."""
        policy = at_any_hour(duplicate_window=None, max_cost_per_day=None)
        return VoiceCallTool(
            approval=self.approval, policy=policy, max_wait=8.0, on_progress=on_progress
        )

    def run(self, folder: Path, tool: VoiceCallTool, given: Any) -> Any:
        """Run the graph over its checkpoints on disk."""
        file = str(folder / f"{self.name}.sqlite")
        if self.is_async:
            return asyncio.run(self._arun(file, tool, given))
        with SqliteSaver.from_conn_string(file) as saver:
            return self.build(tool, self.number, saver).invoke(given, THREAD)

    async def _arun(self, file: str, tool: VoiceCallTool, given: Any) -> Any:
        async with AsyncSqliteSaver.from_conn_string(file) as saver:
            return await self.build(tool, self.number, saver).ainvoke(given, THREAD)

    def first_life(self, folder: Path) -> None:
        """Ask and answer, where there is a question, and then wait in the call."""
        tool = self.tool()
        state = self.run(folder, tool, self.given)
        if self.approval == "never":
            return
        [question] = state["__interrupt__"]
        answer = APPROVE if self.style == "bare" else {question.id: APPROVE}
        self.run(folder, tool, Command(resume=answer))


def plain_node(tool: VoiceCallTool, number: str, saver: Saver) -> Graph:
    """Call `tool.invoke({...})` in a node."""
    return one_node(lambda _: Script([arguments(number)]).run(tool.invoke), saver)


def async_node(tool: VoiceCallTool, number: str, saver: Saver) -> Graph:
    """Call `await tool.ainvoke({...})` in an async node."""

    async def node(_: Any) -> Any:
        return await Script([arguments(number)]).arun(tool.ainvoke)

    return one_node(node, saver)


def node_of_tools(tool: VoiceCallTool, number: str, saver: Saver) -> Graph:
    """Run a tool call in a `ToolNode`."""
    del number  # it is in the graph's input
    return tool_node(tool, saver=saver)


def _number(index: int) -> str:
    return f"+141555501{40 + index}"


CASES = [
    Case("plain node", _number(0), plain_node, dict(INPUT)),
    Case("async node", _number(1), async_node, dict(INPUT), is_async=True),
    Case("tool node", _number(2), node_of_tools, tool_calls(_number(2))),
    Case("approved bare", _number(3), plain_node, dict(INPUT), "interrupt", "bare"),
    Case("approved by id", _number(4), plain_node, dict(INPUT), "interrupt", "by id"),
    Case(
        "approved tool node",
        _number(5),
        node_of_tools,
        tool_calls(_number(5)),
        "interrupt",
        "by id",
    ),
]


def main() -> None:
    """Start every case that is named on the command line; the caller kills this process."""
    folder, names = Path(sys.argv[1]), json.loads(sys.argv[2])
    cases = [case for case in CASES if case.name in names]
    with ThreadPoolExecutor(len(cases)) as pool:
        for done in [pool.submit(case.first_life, folder) for case in cases]:
            done.result()


if __name__ == "__main__":
    main()
