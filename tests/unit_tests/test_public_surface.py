"""What the package offers, and what it does not import before it is needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import langchain_oneshot_voice

PUBLIC = [
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


def test_public_names_are_exactly_these() -> None:
    """A name is public because it is in this list, and for no other reason."""
    assert langchain_oneshot_voice.__all__ == PUBLIC


def test_public_names_are_sorted() -> None:
    """The list is easy to read."""
    assert sorted(PUBLIC) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_resolves(name: str) -> None:
    """Every public name can be imported, also those that are imported when first used."""
    assert getattr(langchain_oneshot_voice, name).__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that does not exist fails as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'VoiceMail'"):
        _ = langchain_oneshot_voice.VoiceMail


def test_version_is_the_distributions() -> None:
    """The version is written down in one place."""
    assert langchain_oneshot_voice.__version__ == version("langchain-oneshot-voice")


def test_import_does_not_pull_in_what_a_call_needs() -> None:
    """Importing the package imports no HTTP client, database, server or signing library."""
    heavy = (
        "httpx",
        "sqlalchemy",
        "starlette",
        "eth_account",
        "eth_keys",
        "websockets",
        "phonenumbers",
    )
    script = f"""
import sys
import langchain_core.tools
before = set(sys.modules)
import langchain_oneshot_voice
print([name for name in {heavy!r} if name in sys.modules and name not in before])
"""
    done = subprocess.run(  # noqa: S603 - the script is the test's own
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
