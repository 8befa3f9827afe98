"""A chat model that says what it was told to say, and takes tools like a real one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable


class ScriptedModel(FakeMessagesListChatModel):
    """Answers with one scripted message after the other."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Take the tools, and go on as before."""
        del tools
        return cast("Runnable[LanguageModelInput, AIMessage]", self)


def calls_then_says(*calls: dict[str, Any], words: str = "Done.") -> ScriptedModel:
    """A model that makes these tool calls in one message, and then ends with words."""
    return ScriptedModel(responses=[AIMessage("", tool_calls=list(calls)), AIMessage(words)])
