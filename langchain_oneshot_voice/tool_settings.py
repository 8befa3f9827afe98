"""ToolSettings: what `VoiceCallTool` takes, for type checkers.

A field has the type of what is read from it, and takes more when it is set: a key is a `SecretStr`,
and may be given as a `str`. Type checkers would refuse that, so they are told here. Nothing of it
is used at run time; a test compares it with the fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.callbacks import Callbacks
    from langchain_core.language_models import BaseChatModel
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import ArgsSchema
    from pydantic import SecretStr

    from langchain_oneshot_voice.approval import Approval
    from langchain_oneshot_voice.extraction import OutcomeSchema
    from langchain_oneshot_voice.journal import CallJournal
    from langchain_oneshot_voice.policy import CallPolicy
    from langchain_oneshot_voice.progress import OnProgress


class ToolSettings(TypedDict, total=False):
    """The arguments of `VoiceCallTool`, which says what each is for; LangChain's come last."""

    private_key: SecretStr | str | None
    access_token: SecretStr | str | None
    base_url: str | None
    policy: CallPolicy | Callable[[RunnableConfig], CallPolicy]
    approval: Approval
    journal: CallJournal | Path | str | None
    on_progress: OnProgress | None
    max_wait: float | None
    outcome_schema: OutcomeSchema | None
    outcome_model: BaseChatModel | None

    name: str
    description: str
    args_schema: ArgsSchema
    response_format: Literal["content", "content_and_artifact"]
    handle_tool_error: bool | str | Callable[[Any], str] | None
    handle_validation_error: bool | str | Callable[[Any], str] | None
    return_direct: bool
    verbose: bool
    callbacks: Callbacks
    tags: list[str] | None
    metadata: dict[str, Any] | None
    extras: dict[str, Any] | None
