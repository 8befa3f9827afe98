"""What comes of a call, from the phone to the tool message: data, words and the user's schema."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeTool
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from placing import NUMBER, arguments, at_any_hour, tool_call
from pydantic import BaseModel

from langchain_oneshot_voice import CallJournal, Sandbox, VoiceCallResult, VoiceCallTool
from langchain_oneshot_voice.sandbox import CallScript

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "tokens.py"


class Booking(BaseModel):
    """What was booked."""

    confirmation_number: str
    party_size: int
    deposit: float | None = None


class Reader(FakeMessagesListChatModel):
    """A chat model that fills any schema with the same booking."""

    def with_structured_output(self, schema: Any, **_: Any) -> Runnable[Any, Any]:
        """Parse the scripted answer, as a provider's JSON mode does."""
        from langchain_core.output_parsers import JsonOutputParser

        del schema
        return self | JsonOutputParser()


class Streamer(Reader):
    """The same, a word at a time."""

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=str(self.responses[0].content)))


ANSWER = AIMessage(
    '{"values": {"confirmation_number": "R-1", "party_size": 2},'
    ' "evidence": {"party_size": "a table for 2"}, "objective_achieved": "yes"}'
)


@pytest.fixture
def make_reading_tool(sandbox: Sandbox, journal: CallJournal) -> Any:
    """Builds a tool that fills `Booking`."""

    def make(**more: Any) -> VoiceCallTool:
        return VoiceCallTool(
            private_key=sandbox.private_key,
            base_url=sandbox.base_url,
            journal=journal,
            policy=at_any_hour(),
            outcome_schema=Booking,
            **more,
        )

    return make


async def test_call_fills_the_schema(make_reading_tool: Any) -> None:
    """The artifact has the user's own model, filled from the call, and the text says so."""
    message = await make_reading_tool().ainvoke(tool_call())

    assert isinstance(message.artifact.extracted, Booking)
    assert message.artifact.extracted.party_size == 2
    assert message.artifact.missing_fields == ("deposit",)
    assert "Extracted from the call:\n| confirmation_number: R-" in message.text
    assert "Not found in the call: deposit." in message.text


async def test_model_fills_the_schema(make_reading_tool: Any) -> None:
    """A chat model reads the transcript; what it made up is named as unsupported."""
    tool = make_reading_tool(outcome_model=Reader(responses=[ANSWER]))
    result = (await tool.ainvoke(tool_call())).artifact

    assert result.extracted == Booking(confirmation_number="R-1", party_size=2)
    assert result.evidence == {"party_size": "A table for 2"}
    assert result.unsupported_fields == ("confirmation_number",)


@pytest.mark.parametrize(
    ("heard", "listed"),
    [("cross us out of your book", [NUMBER]), ("never call me again", [])],
    ids=["said", "made up"],
)
async def test_model_hears_who_does_not_want_to_be_called(
    make_reading_tool: Any, sandbox: Sandbox, journal: CallJournal, heard: str, listed: list[str]
) -> None:
    """A wish in words that no list knows is heard by the model; one that nobody said is not."""
    sandbox.expect(
        NUMBER, CallScript(transcript="AI: Hello.\nUser: Kindly cross us out of your book.")
    )
    content = f'{{"values": {{}}, "evidence": {{}}, "asked_not_to_be_called": "{heard}"}}'
    tool = make_reading_tool(outcome_model=Reader(responses=[AIMessage(content)]))
    await tool.ainvoke(tool_call())

    assert [entry.number for entry in await journal.suppressions()] == listed


async def test_wish_of_a_call_that_is_forgotten_meanwhile_is_listed(
    make_reading_tool: Any, sandbox: Sandbox, journal: CallJournal
) -> None:
    """While the model reads, somebody has the journal forget what was said, and to whom."""

    class Forgetful(Reader):
        async def _agenerate(self, *args: Any, **named: Any) -> ChatResult:
            await journal.forget(0)
            return await super()._agenerate(*args, **named)

    sandbox.expect(NUMBER, CallScript(transcript="User: Kindly cross us out of your book."))
    heard = "cross us out of your book"
    content = f'{{"values": {{}}, "evidence": {{}}, "asked_not_to_be_called": "{heard}"}}'
    tool = make_reading_tool(outcome_model=Forgetful(responses=[AIMessage(content)]))
    await tool.ainvoke(tool_call())

    assert [entry.number for entry in await journal.suppressions()] == [NUMBER]


def test_model_fills_the_schema_in_sync_code(make_reading_tool: Any) -> None:
    """Without an event loop too."""
    tool = make_reading_tool(outcome_model=Reader(responses=[ANSWER]))

    assert tool.invoke(tool_call()).artifact.extracted.party_size == 2


async def test_broken_model_costs_no_outcome(sandbox: Sandbox, make_reading_tool: Any) -> None:
    """The call was paid for: its result comes back, with the notes in the schema's place."""
    tool = make_reading_tool(outcome_model=Reader(responses=[AIMessage("not JSON")]))
    message = await tool.ainvoke(tool_call())

    assert (message.status, message.artifact.call_successful) == ("success", "success")
    assert message.artifact.extracted.party_size == 2
    assert "the model failed" in message.artifact.extraction_error
    assert len(sandbox.rings) == 1


async def test_extraction_is_not_streamed_to_the_user(make_reading_tool: Any) -> None:
    """A graph that streams its model's words keeps the extraction's to itself."""
    tool = make_reading_tool(outcome_model=Streamer(responses=[ANSWER]))
    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([tool]))
    graph.add_edge(START, "tools")
    state: Any = {"messages": [AIMessage("", tool_calls=[tool_call()])]}
    streamed: list[Any] = [
        m async for m, _ in graph.compile().astream(state, stream_mode="messages")
    ]

    assert [type(message) for message in streamed] == [ToolMessage]
    assert streamed[0].artifact.evidence


@pytest.mark.parametrize(
    ("number", "verdict"),
    [("+14155550100", "success"), ("+14155550101", "failure"), ("+14155550106", "failure")],
)
async def test_call_that_took_place_is_a_result(
    make_tool: MakeTool, number: str, verdict: str
) -> None:
    """Good, unanswered or failed at the provider: the message is no error, and has its artifact."""
    message = await make_tool().ainvoke(tool_call(**arguments(number)))

    assert message.status == "success"
    assert isinstance(message.artifact, VoiceCallResult)
    assert message.artifact.call_successful == verdict


async def test_call_in_progress_is_a_result(sandbox: Sandbox, make_tool: MakeTool) -> None:
    """A call that outlasts our patience is handed back as in progress, with its request id."""
    sandbox.expect(NUMBER, CallScript(seconds=60))
    message = await make_tool(max_wait=0.2).ainvoke(tool_call())

    assert (message.status, message.artifact.call_status) == ("success", "in_progress")
    assert message.artifact.request_id == sandbox.calls[0].request_id


async def test_call_that_was_refused_is_an_error(sandbox: Sandbox, make_tool: MakeTool) -> None:
    """What did not happen is an error message, without an artifact."""
    sandbox.deny_action("no calls today")
    message = await make_tool().ainvoke(tool_call())

    assert (message.status, message.artifact) == ("error", None)


async def test_conference_keeps_its_callees_apart(make_tool: MakeTool) -> None:
    """Each person on the line is a speaker of their own, in the data and for the model."""
    numbers = ["+14155550111", "+14155550112", "+14155550113"]
    objective = "Bring all three together on one call and let them agree on a date."
    call = tool_call(objective=objective, target_number=numbers)
    message = await make_tool().ainvoke(call)
    speakers = {turn.speaker for turn in message.artifact.transcript}

    assert speakers == {"caller", "callee 1", "callee 2", "callee 3"}
    assert "| them 3: That works for me." in message.text


async def test_hostile_call_shows_as_text_everywhere(sandbox: Sandbox, make_tool: MakeTool) -> None:
    """From the wire to the card: what was said opens no element and sends no escape."""
    said = "<img src=x onerror=alert(1)>\x1b[2J\u202e **bold** \u200b"
    sandbox.expect(NUMBER, CallScript(transcript=f"User: {said}", summary=said, ended_reason=said))
    message = await make_tool().ainvoke(tool_call())
    html = message.artifact._repr_html_()

    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;[2J **bold**" in html
    assert all(c.isprintable() or c == "\n" for c in message.text + html)


async def test_model_reads_fewer_tokens_than_with_the_official_tool() -> None:
    """The benchmark's own promises hold: never more, and 40 % of it for ten minutes."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(BENCHMARK)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert "promises broken: none" in done.stdout, done.stdout + done.stderr
