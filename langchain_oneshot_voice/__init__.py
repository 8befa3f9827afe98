"""A LangChain tool that places real phone calls through the OneShot voice API.

`VoiceCallTool` is all that most programs need. The names below are the public ones; those that
pull in a database or a server are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_oneshot_voice.errors import (
    CallRefusedError,
    CallUnknownError,
    ConfigurationError,
    InvalidCallError,
    PaymentRefusedError,
    PaymentTermsError,
    ServiceUnavailableError,
    VoiceCallError,
)
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.progress import CallProgress
from langchain_oneshot_voice.schemas import (
    CallCost,
    TranscriptTurn,
    VoiceCallInput,
    VoiceCallQuote,
    VoiceCallResult,
)
from langchain_oneshot_voice.tool import VoiceCallTool

if TYPE_CHECKING:
    from langchain_oneshot_voice.caller import VoiceCaller
    from langchain_oneshot_voice.journal import CallJournal
    from langchain_oneshot_voice.report import calls_frame
    from langchain_oneshot_voice.sandbox import Sandbox

__all__ = [
    "CallCost",
    "CallJournal",
    "CallPolicy",
    "CallProgress",
    "CallRefusedError",
    "CallUnknownError",
    "ConfigurationError",
    "InvalidCallError",
    "PaymentRefusedError",
    "PaymentTermsError",
    "Sandbox",
    "ServiceUnavailableError",
    "TranscriptTurn",
    "VoiceCallError",
    "VoiceCallInput",
    "VoiceCallQuote",
    "VoiceCallResult",
    "VoiceCallTool",
    "VoiceCaller",
    "calls_frame",
]

_LAZY = {
    "CallJournal": "journal",
    "Sandbox": "sandbox",
    "VoiceCaller": "caller",
    "calls_frame": "report",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the protocol has it
    if name == "__version__":
        return import_module("importlib.metadata").version("langchain-oneshot-voice")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
