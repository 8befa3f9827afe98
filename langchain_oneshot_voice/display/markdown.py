"""Formats a quote or a result as Markdown, for places without HTML.

The words of a stranger or a service are put into code spans that they can't close, so that no
Markdown, HTML, link or formula in them takes effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from langchain_oneshot_voice.display import card
from langchain_oneshot_voice.schemas import VoiceCallQuote, VoiceCallResult
from langchain_oneshot_voice.visible_text import plain


def quote_markdown(quote: VoiceCallQuote) -> str:
    """Return the price, the numbers and the criteria for success."""
    lines = [f"**Quote:** {_code(card.dollars(quote.total))}", "", _code(card.whom(quote)), ""]
    lines += [f"- {label}: {_code(amount)}" for label, amount in card.prices(quote)]
    lines += [f"- succeeds when: {_code(words)}" for words in quote.success_criteria]
    return "\n".join([*lines, "", "Nothing is paid yet."])


def result_markdown(result: VoiceCallResult) -> str:
    """Return the verdict, the cost, the filled fields and the conversation."""
    words, tone = card.verdict(result)
    blocks = [f"**{card.MARKS[tone]} {words}**", _code(" \u00b7 ".join(card.facts(result)))]
    blocks += [f"\u26a0 {_code(words)}" for words in card.reservations(result)]
    if result.summary:
        blocks.append(f"Summary: {_code(result.summary)}")
    blocks.append(_list(f"{card.MARKS[c.state]} {_code(c.words)}" for c in card.criteria(result)))
    blocks.append(_list(_row(row, result) for row in card.filled(result)))
    blocks.append(
        _list(f"**{_speaker(turn.speaker)}** {_code(turn.text)}" for turn in result.transcript)
    )
    if result.request_id:
        blocks.append(f"Request id {_code(result.request_id)}")
    return "\n\n".join(block for block in blocks if block)


def _row(row: card.FilledField, result: VoiceCallResult) -> str:
    if row.value is None:
        return f"{_code(row.name)}: not found in the call"
    doubt = " (not supported by the transcript)" if row.name in result.unsupported_fields else ""
    quoted = f", said as {_code(row.evidence)}" if row.evidence else ""
    return f"{_code(row.name)}: {_code(row.value)}{quoted}{doubt}"


def _speaker(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9 ]", "", name)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _code(words: str) -> str:
    """Return a code span, with a fence that is longer than any run of backticks in the words."""
    shown = plain(words)
    if not shown:
        return ""
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}"
