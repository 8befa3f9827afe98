"""Saying that the caller is an AI."""

from __future__ import annotations

from langchain_oneshot_voice import wording


def disclosing(context: str | None) -> str:
    """The context with the disclosure as its last line."""
    given = (context or "").removesuffix(wording.DISCLOSURE).rstrip()
    return f"{given}\n\n{wording.DISCLOSURE}" if given else wording.DISCLOSURE
