"""The disclosure that the caller is an AI."""

from __future__ import annotations

from langchain_oneshot_voice import wording


def disclosing(context: str | None) -> str:
    """Return the context with the disclosure as its last line; a second call changes nothing."""
    text = (context or "").removesuffix(wording.DISCLOSURE).rstrip()
    return f"{text}\n\n{wording.DISCLOSURE}" if text else wording.DISCLOSURE
