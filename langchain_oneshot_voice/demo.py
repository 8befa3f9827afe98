"""The demo: a LangChain agent books a table by phone, without real money and without a real phone.

The agent (`create_agent`), the tool, HTTP and the signatures are real. The sandbox replaces the
service. A scripted model replaces the real one, unless an API key is set and its LangChain package
is installed.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import closing
from tempfile import TemporaryDirectory
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from rich.console import Console
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from langchain_oneshot_voice.display.terminal import quote_panel, result_panel
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import EVENT, CallProgress
from langchain_oneshot_voice.sandbox import Sandbox
from langchain_oneshot_voice.schemas import VoiceCallResult
from langchain_oneshot_voice.tool import VoiceCallTool

RESTAURANT = "+14155551234"
QUESTION = (
    "Please book me a table for 2 tonight at 7pm, name Rivera, at the Italian place"
    f" ({RESTAURANT}). Outside if they can."
)
_PROMPT = "You arrange things for the user. When a phone call is needed, make it."

_MODELS = {
    "OPENAI_API_KEY": ("langchain_openai", "openai:gpt-5-mini"),
    "ANTHROPIC_API_KEY": ("langchain_anthropic", "anthropic:claude-haiku-4-5"),
    "GOOGLE_API_KEY": ("langchain_google_genai", "google_genai:gemini-2.5-flash"),
}


class ScriptedModel(BaseChatModel):
    """A model without intelligence: it calls the restaurant, then repeats the tool's answer."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> ScriptedModel:  # noqa: ANN401, ARG002 - the script knows the tool
        """Return the model itself: its script knows the only tool."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:  # noqa: ANN401
        last = messages[-1]
        answer = _report(last) if isinstance(last, ToolMessage) else _call_the_restaurant()
        return ChatResult(generations=[ChatGeneration(message=answer)])


class LiveLine(Progress):
    """One line with the current step and its duration."""

    def __init__(self, console: Console) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        super().__init__(*columns, console=console, transient=True)

    def show_step(self, step: str) -> None:
        """Replace the current step."""
        for task in self.task_ids:
            self.remove_task(task)
        self.add_task(step, total=None)


def run_demo(console: Console, *, call_seconds: float = 4.0) -> bool:
    """Run the demo.

    Args:
        console: the terminal to print to.
        call_seconds: the duration of the sandbox's call.

    Returns:
        True if the agent made one call and it achieved its objective.
    """
    model, described = _model()
    console.print(
        Panel(
            f"An agent books a table by phone.\nModel: {described}.\n"
            "Service: the sandbox, on 127.0.0.1. No phone rings and the money is worthless.",
            title="langchain-oneshot-voice",
            title_align="left",
            width=78,
        )
    )
    with TemporaryDirectory() as folder, Sandbox(call_seconds=call_seconds) as sandbox:
        tool = VoiceCallTool(
            private_key=sandbox.private_key,
            base_url=sandbox.base_url,
            journal=f"{folder}/calls.sqlite",
            policy=CallPolicy(calling_hours=None),  # the sandbox can be called at night
        )
        agent = create_agent(model, [tool], system_prompt=_PROMPT)
        console.print(Text.assemble(("User   ", "bold"), QUESTION))
        question: Any = {"messages": [{"role": "user", "content": QUESTION}]}
        # Close the stream explicitly on Ctrl-C: garbage collection would wait for the call.
        stream: Any = agent.stream(question, stream_mode=["updates", "custom"])
        with closing(stream), LiveLine(console) as line:
            line.show_step("The model is thinking")
            results = list(_show(console, line, stream))
        spent = sum(p.amount for p in sandbox.payments if p.kind == "usdc")
        console.print(
            f"[dim]The sandbox saw {len(sandbox.rings)} ring and {len(results)} call, and settled"
            f" ${spent:.2f} of test USDC.[/dim]"
        )
    return [result.call_successful for result in results] == ["success"]


def _show(console: Console, line: LiveLine, stream: Any) -> Iterator[VoiceCallResult]:  # noqa: ANN401 - LangGraph's
    """Print each step of the agent, and yield the results of its calls."""
    for mode, chunk in stream:
        if mode == "custom":
            _show_progress(console, line, CallProgress.model_validate(chunk[EVENT]))
            continue
        for message in (m for update in chunk.values() for m in (update or {}).get("messages", [])):
            if isinstance(message, ToolMessage) and isinstance(message.artifact, VoiceCallResult):
                console.print(result_panel(message.artifact))
                yield message.artifact
                line.show_step("The model is thinking")
            elif isinstance(message, AIMessage) and message.tool_calls:
                for call in message.tool_calls:
                    console.print(
                        Text.assemble(("Agent  ", "bold"), f"calls the tool {call['name']!r}:")
                    )
                    for name, value in call["args"].items():
                        console.print(Text(f"         {name}: {value}", style="dim"))
                line.show_step("Asking for the price")
            elif isinstance(message, ToolMessage | AIMessage):
                console.print(Text.assemble(("Agent  ", "bold"), str(message.text)))


def _show_progress(console: Console, line: LiveLine, progress: CallProgress) -> None:
    if progress.stage == "quoted" and progress.quote is not None:
        console.print(quote_panel(progress.quote))
    elif progress.stage == "paying":
        console.print(
            f"Paying  ${progress.cost} in USDC: terms checked, signed, written down, then sent"
        )
    elif progress.stage == "placed":
        console.print(f"Placed  request id {progress.request_id}")
        line.show_step(f"On the phone with {', '.join(progress.numbers)}")


def _model() -> tuple[BaseChatModel, str]:
    for key, (package, name) in _MODELS.items():
        if os.environ.get(key) and importlib.util.find_spec(package):
            return init_chat_model(name), f"{name} ({key} is set)"
    keys = ", ".join(_MODELS)
    return ScriptedModel(), (
        f"scripted, without intelligence; for a real one, set one of {keys} and install its"
        " LangChain package"
    )


def _call_the_restaurant() -> AIMessage:
    arguments = {
        "objective": "Book a table for 2 people tonight at 7pm under the name Rivera. Ask for"
        " outdoor seating; if there is none, inside is fine. Get a confirmation number.",
        "target_number": RESTAURANT,
        "caller_persona": "A polite assistant making a reservation",
        "context": "Italian restaurant, prefer outdoor seating",
        "max_duration_minutes": 5,
    }
    call = {"name": "voice_call", "args": arguments, "id": "call-1", "type": "tool_call"}
    return AIMessage(content="", tool_calls=[call])


def _report(answer: ToolMessage) -> AIMessage:
    if isinstance(answer.artifact, VoiceCallResult):
        return AIMessage(content=f"I called them. {answer.artifact.summary}")
    return AIMessage(content=f"I could not make the call. {answer.text}")
