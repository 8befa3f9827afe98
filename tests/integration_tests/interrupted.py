"""Programs that place a call and are interrupted: each runs in a child of this warm process.

The process reads tasks from stdin, a line each, and forks a child for each, which then ends as any
program does: through its exceptions, its threads, and the whole of the interpreter's exit. It
writes `{"forked": pid}` and `{"ended": pid, "status": code}` to stdout. A task has `program`,
`journal`, `base_url`, `private_key`, `log`, the file for the child's output, `answers`, a named
pipe for its input, and perhaps `patience` and `sigterm`.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import gc
import json
import os
import signal
import sys
import threading
import time
from dataclasses import fields, replace


def say(what: str) -> None:
    """Write a line to the task's log."""
    sys.stdout.write(f"{what} {time.time()}\n")
    sys.stdout.flush()


# Before the package is imported, so that it runs last. What follows is the interpreter's own end,
# which takes half a second where so much is loaded.
atexit.register(say, "left")

# ruff: noqa: E402
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaos.callers import CallerByClock
from chaos.warm_up import warm_up
from langchain.agents import create_agent
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from placing import FAST, arguments, at_any_hour, tool_call
from scripted_model import calls_then_says

from langchain_oneshot_voice import CallJournal, CallProgress, VoiceCallInput, VoiceCallTool

Task = dict[str, Any]
PROGRAMS: dict[str, Callable[[VoiceCallTool], object]] = {}

_ASKED: Any = {"messages": [{"role": "user", "content": "Call them."}]}
_CALLED: Any = {"messages": [calls_then_says(tool_call()).responses[0]]}


def program(run: Callable[[VoiceCallTool], object]) -> Callable[[VoiceCallTool], object]:
    """Make a function a program that a task can name."""
    PROGRAMS[run.__name__] = run
    return run


def the_tool(task: Task) -> VoiceCallTool:
    """Build the task's tool."""
    return VoiceCallTool(
        private_key=task["private_key"],
        base_url=task["base_url"],
        journal=task["journal"],
        policy=at_any_hour(),
        timing=replace(FAST, **task.get("timing", {})),
    )


@program
def main_thread(tool: VoiceCallTool) -> None:
    """Call the tool plainly."""
    tool.invoke(tool_call())


@program
def user_journal(tool: VoiceCallTool) -> None:
    """Call the tool with a journal that the program opened, and that it closes at exit itself."""
    tool.journal = CallJournal(str(tool.journal))
    tool.invoke(tool_call())


@program
def event_loop(tool: VoiceCallTool) -> None:
    """Await the tool."""
    asyncio.run(tool.ainvoke(tool_call()))


@program
def many_calls(tool: VoiceCallTool) -> None:
    """Iterate over many calls, of which there is one."""
    list(tool.caller.call_many([VoiceCallInput(**arguments())]))


@program
def many_calls_in_a_loop(tool: VoiceCallTool) -> None:
    """Do the same in an event loop."""

    async def iterate() -> None:
        async for _ended in tool.caller.acall_many([VoiceCallInput(**arguments())]):
            pass

    asyncio.run(iterate())


@program
def many_calls_in_a_thread(tool: VoiceCallTool) -> None:
    """Do it in another thread than the main one."""
    with ThreadPoolExecutor() as pool:
        pool.submit(many_calls, tool).result()


@program
def batch(tool: VoiceCallTool) -> None:
    """Run the tool's batch, whose threads wait for calls."""
    tool.batch([tool_call(), tool_call("call-2", **arguments("+1415555"))])


@program
def cell(tool: VoiceCallTool) -> None:
    """Go on after an interrupt, as a notebook's kernel does after a cell."""
    try:
        tool.invoke(tool_call())
    except KeyboardInterrupt:
        say("prompt")
    sys.stdin.read()


@program
def stops_at_paying(tool: VoiceCallTool) -> None:
    """Call the tool with a program of the user's that takes its time before the payment is sent."""

    def told(progress: CallProgress) -> None:
        if progress.stage == "paying":
            say("paying")
            sys.stdin.readline()

    settings = {f.name: getattr(tool.caller, f.name) for f in fields(tool.caller) if f.init}
    tool._caller = CallerByClock(**settings | {"on_progress": told})
    tool.invoke(tool_call())


@program
def agent(tool: VoiceCallTool) -> None:
    """Run an agent."""
    create_agent(calls_then_says(tool_call()), [tool]).invoke(_ASKED)


@program
def agent_stream(tool: VoiceCallTool) -> None:
    """Run an agent whose progress is shown: its nodes run in threads, too."""
    graph = create_agent(calls_then_says(tool_call()), [tool])
    for _ in graph.stream(_ASKED, stream_mode=["updates", "custom"]):
        pass


@program
def agent_cell(tool: VoiceCallTool) -> None:
    """Run an agent in a notebook's cell."""
    try:
        agent(tool)
    except KeyboardInterrupt:
        say("prompt")
    sys.stdin.read()


@program
def agent_async(tool: VoiceCallTool) -> None:
    """Await an agent."""
    asyncio.run(create_agent(calls_then_says(tool_call()), [tool]).ainvoke(_ASKED))


def _tool_node(tool: VoiceCallTool) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    return graph.compile()


@program
def tool_node(tool: VoiceCallTool) -> None:
    """Run a graph with a `ToolNode`."""
    _tool_node(tool).invoke(_CALLED)


@program
def tool_node_async(tool: VoiceCallTool) -> None:
    """Await a graph with a `ToolNode`."""
    asyncio.run(_tool_node(tool).ainvoke(_CALLED))


@program
def sync_node_of_async_graph(tool: VoiceCallTool) -> None:
    """Await a graph whose node calls the tool without awaiting: it runs in the loop's executor."""
    graph = StateGraph(MessagesState)
    graph.add_node("call", lambda _: {"messages": [tool.invoke(tool_call())]})
    graph.add_edge(START, "call")
    asyncio.run(graph.compile().ainvoke(_ASKED))


@program
def pool_block(tool: VoiceCallTool) -> None:
    """Wait for an executor in a `with` block."""
    with ThreadPoolExecutor() as pool:
        pool.submit(tool.invoke, tool_call()).result()


@program
def pool_plain(tool: VoiceCallTool) -> None:
    """Wait for an executor that nobody shuts down: the interpreter joins its threads."""
    ThreadPoolExecutor().submit(tool.invoke, tool_call()).result()


@program
def loop_in_thread(tool: VoiceCallTool) -> None:
    """Await the tool on a loop in an executor's thread."""
    with ThreadPoolExecutor() as pool:
        pool.submit(lambda: asyncio.run(tool.ainvoke(tool_call()))).result()


@program
def ends_by_exception(tool: VoiceCallTool) -> None:
    """End with an exception as soon as the phone rings elsewhere."""
    ThreadPoolExecutor().submit(tool.invoke, tool_call())
    signal.signal(signal.SIGUSR1, lambda *_: 1 // 0)
    threading.Event().wait()


@program
def main_ends(tool: VoiceCallTool) -> None:
    """End, and leave a thread: Python waits for it."""

    def work() -> None:
        say(tool.invoke(tool_call()).artifact.call_status)

    threading.Thread(target=work).start()


@program
def exits_beside_daemon(tool: VoiceCallTool) -> None:
    """Exit while a daemon thread is in a call."""
    threading.Thread(target=tool.invoke, args=(tool_call(),), daemon=True).start()
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))
    threading.Event().wait()


@program
def exit_in_thread(tool: VoiceCallTool) -> None:
    """A thread exits, which ends that thread alone; then the program is interrupted."""
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    tool.invoke(tool_call())


@program
def begins_again(tool: VoiceCallTool) -> None:
    """Go on inside the handler of an interrupt: that one is over, and ends no later call."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        with ThreadPoolExecutor() as pool:
            say(pool.submit(tool.invoke, tool_call()).result().artifact.call_status)


@program
def asks_whether_to_stop(tool: VoiceCallTool) -> None:
    """Ask at the terminal, when interrupted, whether to stop; a thread is in a call meanwhile."""
    placed = threading.Event()

    def told(progress: CallProgress) -> None:
        if progress.stage == "placed":
            placed.set()

    tool.on_progress = told
    thread = threading.Thread(target=lambda: say(tool.invoke(tool_call()).artifact.call_status))
    thread.start()
    placed.wait()
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        sys.stdin.readline()
    thread.join()


@program
def stubborn(tool: VoiceCallTool) -> None:
    """Call again and again, whatever happens."""

    def work() -> None:
        for n in range(9):
            with contextlib.suppress(Exception):
                tool.invoke(tool_call(f"call-{n}", **arguments(f"+1415555011{n}")))

    ThreadPoolExecutor().submit(work).result()


@program
def asks(tool: VoiceCallTool) -> None:
    """Ask a person at the terminal, who does not answer."""

    def ask(*_: object) -> bool:
        say("asked")
        return bool(sys.stdin.readline())

    tool.approval = ask
    tool.invoke(tool_call())


@program
def forked(tool: VoiceCallTool) -> None:
    """Fork while a call is under way; the child exits, and the call goes on."""
    thread = threading.Thread(target=lambda: say(tool.invoke(tool_call()).artifact.call_status))
    thread.start()
    signal.sigwait({signal.SIGUSR1})
    if os.fork() == 0:
        raise SystemExit(0)
    os.wait()
    thread.join()


def _run(task: Task) -> None:
    answers = os.open(task["answers"], os.O_RDWR)  # a pipe that is never at its end
    log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(answers, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a new one, without the tasks
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if task.get("sigterm") == "exit":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if task["program"] == "forked":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    PROGRAMS[task["program"]](the_tool(task))


def main() -> None:
    """Fork a child for each task. The child comes back from here and ends as a program does."""
    warm_up()
    # The children's exit collects garbage, and lets go of all that was imported: neither has to
    # copy this process's memory.
    gc.freeze()
    imported = [dict(vars(module)) for module in list(sys.modules.values())]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(imported))
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return _run(json.loads(line))
        sys.stdout.write(json.dumps({"forked": pid}) + "\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        sys.stdout.write(json.dumps({"ended": pid, "status": code}) + "\n")
        sys.stdout.flush()
    return None


if __name__ == "__main__":
    main()
