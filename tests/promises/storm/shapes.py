"""The graphs: the same calls, made in each of the places where a graph can make them."""

from __future__ import annotations

import asyncio
import functools
import operator
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import RetryPolicy, Send, interrupt

from langchain_oneshot_voice import VoiceCallError, VoiceCallTool
from langchain_oneshot_voice.schemas import VoiceCallInput
from storm.person import number_of, subject_line
from storm.plan import Plan, Wish
from storm.process import NodeError, Process

_LONGEST_PAUSE = 0.002
_MAIL_ID = "mail-0"


class State(TypedDict, total=False):
    """What the node shapes work on."""

    out: Annotated[list[dict[str, Any]], operator.add]
    wish: int


class Program:
    """What the graphs of one process are made of."""

    def __init__(
        self,
        plan: Plan,
        process: Process,
        voice: VoiceCallTool,
        received: list[tuple[str, Any]],
        turn: Callable[[], int],
    ) -> None:
        self.plan = plan
        self.voice = voice
        self._process = process
        self._received = received
        self._turn = turn

    @property
    def retries(self) -> RetryPolicy | None:
        """How LangGraph runs a node again that has failed."""
        if not self.plan.retries:
            return None
        return RetryPolicy(initial_interval=0.001, jitter=False, retry_on=NodeError)

    @property
    def mail(self) -> BaseTool:
        """Another tool that asks before it does its work."""

        def send_mail(text: str) -> str:
            self._ask("mail")
            return f"sent {text}"

        async def send_mail_later(text: str) -> str:
            return send_mail(text)

        return StructuredTool.from_function(
            send_mail, send_mail_later, name="send_mail", description="Sends a mail."
        )

    def own(self, name: str) -> None:
        """Ask one of the node's own questions, if the plan has any."""
        if self.plan.own:
            self._ask(name)

    def _ask(self, name: str) -> None:
        self._process.step("own")
        answer = interrupt({"own": name})
        self._received.append((name, answer))
        self._process.step("own")

    def chance(self, *of: object) -> random.Random:
        """Chances that differ from run to run and are the same for the same plan."""
        return random.Random(f"{self.plan.seed} {self._turn()} {of}")  # noqa: S311 - for orders

    async def pause(self, wish: int) -> None:
        """Wait for a moment that is another one in each run."""
        seconds = self.chance(wish).random() * _LONGEST_PAUSE
        if self.plan.asynchronous:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)  # noqa: ASYNC251 - a sync graph runs this in a thread of its own

    async def place(self, wish: int) -> dict[str, Any]:
        """Make one call in the plan's way; what it came to."""
        if self.plan.way == "caller":
            return await self._by_caller(wish)
        call = tool_call(wish, self.plan.wishes[wish])
        given: Any = call if self.plan.way == "tool_call" else call["args"]
        if self.plan.asynchronous:
            answer = await self.voice.ainvoke(given)
        else:
            answer = self.voice.invoke(given)
        if isinstance(answer, ToolMessage):
            return outcome_of(answer)
        return {"wish": wish, "text": str(answer).partition("\n")[0]}

    async def _by_caller(self, wish: int) -> dict[str, Any]:
        request = VoiceCallInput(**arguments(self.plan.wishes[wish]))
        caller, config = self.voice.caller, get_config()
        try:
            if self.plan.asynchronous:
                result = await caller.acall(request, config=config)
            else:
                result = caller.call(request, config=config)
        except VoiceCallError as error:
            return {"wish": wish, "error": f"{error.code}: {error}"}
        return {"wish": wish, "status": result.call_status, "reused": result.reused}


def arguments(wish: Wish) -> dict[str, Any]:
    """What a call is made with."""
    args: dict[str, Any] = {
        "objective": subject_line(wish.subject),
        "target_number": number_of(wish.subject),
    }
    return args if wish.minutes is None else args | {"max_duration_minutes": wish.minutes}


def tool_call(index: int, wish: Wish) -> dict[str, Any]:
    """A call as a model makes it."""
    args = arguments(wish)
    return {"name": "voice_call", "args": args, "id": f"call-{index}", "type": "tool_call"}


def outcome_of(message: ToolMessage) -> dict[str, Any]:
    """What a tool message says of its call."""
    wish = int(message.tool_call_id.removeprefix("call-"))
    if message.status == "error" or message.artifact is None:
        return {"wish": wish, "error": str(message.content)}
    result = message.artifact  # some savers give its fields back, not the object
    fields = result if isinstance(result, dict) else vars(result)
    return {"wish": wish, "status": fields["call_status"], "reused": fields["reused"]}


def outcomes(values: Any) -> list[dict[str, Any]]:
    """What the calls of a graph that has ended came to."""
    if "messages" not in values:
        return list(values.get("out", ()))
    messages = [m for m in values["messages"] if isinstance(m, ToolMessage)]
    return [outcome_of(message) for message in messages if message.tool_call_id != _MAIL_ID]


def build(program: Program, saver: Any) -> tuple[Any, Any]:
    """The graph of the plan's shape, and its first input."""
    return _BUILDERS[program.plan.shape](program, saver)


def _fitting(program: Program, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Work as the graph needs it: a coroutine function, or a function that never waits for a loop.

    In a sync program nothing in a coroutine suspends, so one step takes it to its end.
    """
    if program.plan.asynchronous:
        return work

    @functools.wraps(work)
    def at_once(given: Any) -> Any:
        try:
            work(given).send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("a sync graph waits for nothing")

    return at_once


def _messages(program: Program) -> list[dict[str, Any]]:
    """The tool calls of one message, the other tool's first, last or in between."""
    calls = [tool_call(i, wish) for i, wish in enumerate(program.plan.wishes)]
    if program.plan.beside:
        mail = {
            "name": "send_mail",
            "args": {"text": "Hello."},
            "id": _MAIL_ID,
            "type": "tool_call",
        }
        calls.insert(program.plan.seed % (len(calls) + 1), mail)
    return calls


def _tool_node(program: Program, saver: Any) -> tuple[Any, Any]:
    async def before(_: Any) -> dict[str, Any]:
        program.own("before")
        return {}

    async def after(_: Any) -> dict[str, Any]:
        program.own("after")
        return {}

    graph: Any = StateGraph(MessagesState)
    graph.add_node("before", _fitting(program, before))
    graph.add_node("tools", ToolNode([program.voice, program.mail]))
    graph.add_node("after", _fitting(program, after))
    graph.add_edge(START, "before")
    graph.add_edge("before", "tools")
    graph.add_edge("tools", "after")
    first = {"messages": [AIMessage("", tool_calls=_messages(program))]}
    return graph.compile(checkpointer=saver), first


class _Model(BaseChatModel):
    """Makes its tool calls once, and says that it is done when they are answered."""

    calls: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "storm"

    def bind_tools(self, tools: Any, **_: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Take the tools as they are."""
        del tools
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        del stop, run_manager
        answered = any(isinstance(message, ToolMessage) for message in messages)
        says = AIMessage("Done.") if answered else AIMessage("", tool_calls=self.calls)
        return ChatResult(generations=[ChatGeneration(message=says)])


def _agent(program: Program, saver: Any) -> tuple[Any, Any]:
    model = _Model(calls=_messages(program))
    agent = create_agent(model, [program.voice, program.mail], checkpointer=saver)
    return agent, {"messages": [("user", "Please call.")]}


def _in_sequence(program: Program) -> Callable[[Any], Awaitable[dict[str, Any]]]:
    async def node(_: Any) -> dict[str, Any]:
        order = list(range(len(program.plan.wishes)))
        if program.plan.shape == "shuffled":
            program.chance().shuffle(order)
        out = []
        program.own("before")
        for place, wish in enumerate(order):
            out.append(await program.place(wish))
            program.own(f"between-{place}")
        program.own("after")
        return {"out": out}

    node_now: Callable[[Any], Awaitable[dict[str, Any]]] = _fitting(program, node)
    return node_now


def _node(program: Program, saver: Any) -> tuple[Any, Any]:
    graph: Any = StateGraph(State)
    graph.add_node("calls", _in_sequence(program), retry_policy=program.retries)
    graph.add_edge(START, "calls")
    return graph.compile(checkpointer=saver), {"out": []}


def _subgraph(program: Program, saver: Any) -> tuple[Any, Any]:
    inner: Any = StateGraph(State)
    inner.add_node("calls", _in_sequence(program), retry_policy=program.retries)
    inner.add_edge(START, "calls")
    graph: Any = StateGraph(State)
    graph.add_node("inner", inner.compile())
    graph.add_edge(START, "inner")
    return graph.compile(checkpointer=saver), {"out": []}


def _threads(program: Program, saver: Any) -> tuple[Any, Any]:
    async def work(wish: int) -> dict[str, Any]:
        await program.pause(wish)
        outcome = await program.place(wish)
        if program.plan.beside and wish == 0:
            program.own("in thread")
        return outcome

    async def node(_: Any) -> dict[str, Any]:
        wishes = list(range(len(program.plan.wishes)))
        program.chance().shuffle(wishes)
        program.own("before")
        if program.plan.asynchronous:
            out = await asyncio.gather(*map(work, wishes))
        else:
            with ContextThreadPoolExecutor() as pool:
                out = list(pool.map(_fitting(program, work), wishes))
        program.own("after")
        return {"out": out}

    graph: Any = StateGraph(State)
    graph.add_node("calls", _fitting(program, node), retry_policy=program.retries)
    graph.add_edge(START, "calls")
    return graph.compile(checkpointer=saver), {"out": []}


def _send(program: Program, saver: Any) -> tuple[Any, Any]:
    async def one(state: Any) -> dict[str, Any]:
        wish = state["wish"]
        program.own(f"before-{wish}")
        outcome = await program.place(wish)
        program.own(f"after-{wish}")
        return {"out": [outcome]}

    def fan_out(_: Any) -> list[Send]:
        return [Send("one", {"wish": wish}) for wish in range(len(program.plan.wishes))]

    graph: Any = StateGraph(State)
    graph.add_node("one", _fitting(program, one), retry_policy=program.retries)
    graph.add_conditional_edges(START, fan_out, ["one"])
    return graph.compile(checkpointer=saver), {"out": []}


def _entrypoint(program: Program, saver: Any) -> tuple[Any, Any]:
    @task
    async def place_later(wish: int) -> dict[str, Any]:
        await program.pause(wish)
        return await program.place(wish)

    @task
    def place(wish: int) -> dict[str, Any]:
        outcome: dict[str, Any] = _fitting(program, _place)(wish)
        return outcome

    async def _place(wish: int) -> dict[str, Any]:
        await program.pause(wish)
        return await program.place(wish)

    async def flow_later(given: dict[str, Any]) -> dict[str, Any]:
        program.own("before")
        out = await asyncio.gather(*(place_later(wish) for wish in given["wishes"]))
        program.own("after")
        return {"out": list(out)}

    def flow(given: dict[str, Any]) -> dict[str, Any]:
        program.own("before")
        futures = [place(wish) for wish in given["wishes"]]
        out = [future.result() for future in futures]
        program.own("after")
        return {"out": out}

    made: Any = entrypoint(checkpointer=saver)
    chosen: Any = flow_later if program.plan.asynchronous else flow
    return made(chosen), {"wishes": list(range(len(program.plan.wishes)))}


_BUILDERS: dict[str, Callable[[Program, Any], tuple[Any, Any]]] = {
    "tool_node": _tool_node,
    "node": _node,
    "shuffled": _node,
    "threads": _threads,
    "send": _send,
    "agent": _agent,
    "subgraph": _subgraph,
    "entrypoint": _entrypoint,
}
