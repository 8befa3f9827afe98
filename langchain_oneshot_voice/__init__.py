"""A LangChain tool that places real phone calls through the OneShot voice API.

Most programs need only `VoiceCallTool`. The names below are public. Each is imported on first use,
so that a program does not import the database or the server if it does not use them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_oneshot_voice.caller import VoiceCaller
    from langchain_oneshot_voice.calls.call_key import CallKey
    from langchain_oneshot_voice.calls.many import CallEnded
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
    from langchain_oneshot_voice.journal import CallJournal
    from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey
    from langchain_oneshot_voice.policy import CallPolicy
    from langchain_oneshot_voice.progress import CallProgress
    from langchain_oneshot_voice.report import calls_frame
    from langchain_oneshot_voice.sandbox import Sandbox
    from langchain_oneshot_voice.schemas import (
        CallCost,
        TranscriptTurn,
        VoiceCallInput,
        VoiceCallQuote,
        VoiceCallResult,
    )
    from langchain_oneshot_voice.timing import Timing
    from langchain_oneshot_voice.tool import VoiceCallTool

__all__ = [
    "AccessToken",
    "CallCost",
    "CallEnded",
    "CallJournal",
    "CallKey",
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
    "Timing",
    "TranscriptTurn",
    "VoiceCallError",
    "VoiceCallInput",
    "VoiceCallQuote",
    "VoiceCallResult",
    "VoiceCallTool",
    "VoiceCaller",
    "WalletKey",
    "calls_frame",
]

_MODULES = {
    "AccessToken": "oneshot.wallet",
    "CallCost": "schemas",
    "CallEnded": "calls.many",
    "CallJournal": "journal",
    "CallKey": "calls.call_key",
    "CallPolicy": "policy",
    "CallProgress": "progress",
    "CallRefusedError": "errors",
    "CallUnknownError": "errors",
    "ConfigurationError": "errors",
    "InvalidCallError": "errors",
    "PaymentRefusedError": "errors",
    "PaymentTermsError": "errors",
    "Sandbox": "sandbox",
    "ServiceUnavailableError": "errors",
    "Timing": "timing",
    "TranscriptTurn": "schemas",
    "VoiceCallError": "errors",
    "VoiceCallInput": "schemas",
    "VoiceCallQuote": "schemas",
    "VoiceCallResult": "schemas",
    "VoiceCallTool": "tool",
    "VoiceCaller": "caller",
    "WalletKey": "oneshot.wallet",
    "calls_frame": "report",
}
"""The module of each public name; it is imported on first use."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as PEP 562 defines it
    if name == "__version__":
        return import_module("importlib.metadata").version("langchain-oneshot-voice")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
