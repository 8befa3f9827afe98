"""A worker of version 0.1.0: makes the call of one task, and stops at the step that the task names.

`make_fixtures.py` starts it, and kills it once it has stopped. It reads its task, JSON, from the
command line and writes what a graph came back with to the task's own file.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command
from old_threads import GRAPHS, call_of, first_input, in_thread

from langchain_oneshot_voice import CallPolicy, CallProgress, VoiceCallTool


class Stop:
    """Makes a file at one step of the call, and waits there."""

    def __init__(self, at: str | None, sign: Path) -> None:
        self._at = at
        self._sign = sign

    def reach(self, step: str) -> None:
        """Stop here, if this is the step."""
        if step == self._at:
            self._sign.touch()
            time.sleep(3600)

    def check(self, *_: object) -> None:
        """Check as an application does; it is asked when the price is on record."""
        self.reach("check")

    def approve(self, *_: object) -> dict[str, Any]:
        """Say no, as a person who is asked by a function."""
        self.reach("approve")
        return {"type": "reject", "message": "Not today."}

    def progress(self, progress: CallProgress) -> None:
        """Listen to the call's steps."""
        self.reach(progress.stage)


def main() -> None:
    """Make one call, in a graph or without one."""
    task = json.loads(sys.argv[1])
    stop = Stop(task["stop_at"], Path(task["sign"]))
    tool = VoiceCallTool(
        private_key=task["private_key"],
        base_url=task["base_url"],
        journal=task["journal"],
        policy=CallPolicy(calling_hours=None, check=stop.check),
        approval=stop.approve if task["approval"] == "function" else task["approval"],
        on_progress=stop.progress,
        max_wait=task["max_wait"],
    )
    if task["graph"] is not None:
        _run_graph(task, tool)
    elif task["calls"][0]["id"] is None:
        tool.invoke(task["calls"][0]["args"])
    else:
        tool.invoke(_tool_calls(task)[0], {"configurable": task["configurable"]})


def _run_graph(task: dict[str, Any], tool: VoiceCallTool) -> None:
    calls = _tool_calls(task)
    answers = task["answers"]
    given: Any = Command(resume=answers[0]) if answers else first_input(task["graph"], calls)
    with SqliteSaver.from_conn_string(task["checkpoints"]) as saver:
        graph = GRAPHS[task["graph"]](tool, saver, *([] if answers else calls))
        state = graph.invoke(given, in_thread(task["configurable"]["thread_id"]))
        for answer in answers[1:]:
            state = graph.invoke(
                Command(resume=answer), in_thread(task["configurable"]["thread_id"])
            )
        asked = [
            {"id": question.id, "number": question.value["args"]["target_number"]}
            for question in state.get("__interrupt__", ())
        ]
        Path(task["asked"]).write_text(json.dumps(asked))


def _tool_calls(task: dict[str, Any]) -> list[dict[str, Any]]:
    return [call_of(call["id"], call["args"]) for call in task["calls"]]


if __name__ == "__main__":
    main()
