"""Formats a quote or a result for a terminal, as rich renderables.

A stranger's words are shown as text: markup, control and direction characters have no effect. Needs
the extra `cli`, so import this module only to show something.
"""

from __future__ import annotations

from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from langchain_oneshot_voice.display import card
from langchain_oneshot_voice.schemas import TranscriptTurn, VoiceCallQuote, VoiceCallResult
from langchain_oneshot_voice.visible_text import plain

_WIDTH = 78
_BUBBLE = 52

_COLOURS: dict[card.Tone, str] = {"good": "green", "bad": "red", "unsure": "yellow"}


def quote_panel(quote: VoiceCallQuote) -> Panel:
    """Return a panel with the price, the numbers and the criteria for success."""
    prices = Table.grid(padding=(0, 2))
    prices.add_column()
    prices.add_column(justify="right")
    for label, amount in card.prices(quote):
        prices.add_row(Text(label), Text(amount))
    prices.add_row(Text("Total", style="bold"), Text(card.dollars(quote.total), style="bold"))
    parts: list[RenderableType] = [Text(card.whom(quote)), prices]
    if quote.success_criteria:
        parts.append(Text("\nIt succeeds when", style="dim"))
        parts += [Text(f"  \u00b7 {plain(criterion)}") for criterion in quote.success_criteria]
    return Panel(Group(*parts), title="Quote", title_align="left", width=_WIDTH, style="cyan")


def result_panel(result: VoiceCallResult) -> Panel:
    """Return a panel with the verdict, the cost, the filled fields and the conversation."""
    verdict, tone = card.verdict(result)
    colour = _COLOURS[tone]
    parts: list[RenderableType] = [
        Text(f"{card.MARKS[tone]} {verdict}", style=f"bold {colour}"),
        Text(" \u00b7 ".join(card.facts(result))),
    ]
    parts += [Text(f"! {words}", style="yellow") for words in card.reservations(result)]
    if result.summary:
        parts.append(Text(f"\u201c{plain(result.summary)}\u201d", style="italic"))
    if result.extracted is not None or result.missing_fields:
        parts += [Text(), _filled(result)]
    if result.transcript:
        parts.append(Text())
        parts += [_bubble(turn, result.evidence) for turn in result.transcript]
    return Panel(Group(*parts), title="Call", title_align="left", width=_WIDTH, border_style=colour)


def _filled(result: VoiceCallResult) -> Table:
    """Return a table of the fields of the user's schema."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    for row in card.filled(result):
        missing = row.value is None
        value = Text("not found in the call" if missing else str(row.value))
        if missing:
            value.stylize("dim")
        elif row.name in result.unsupported_fields:
            value.append(" (not supported by the transcript)", style="yellow")
        table.add_row(Text(row.name), value)
    return table


def _bubble(turn: TranscriptTurn, evidence: dict[str, str]) -> RenderableType:
    ours = turn.speaker == "caller"
    said = Text()
    for piece in card.pieces(turn.text, evidence):
        said.append(piece.words, style="bold underline" if piece.field else None)
    who = plain(turn.speaker)
    bubble = Panel(
        said,
        title=Text(who),
        title_align="left" if ours else "right",
        width=min(max(said.cell_len, len(who) + 4) + 4, _BUBBLE),
        border_style="blue" if ours else "magenta",
    )
    return Align(bubble, "left" if ours else "right")
