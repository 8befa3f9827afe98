"""How a quote and a result look in a terminal, as rich renderables.

Everything a stranger said is shown as text: markup, control and direction characters are not
interpreted. Needs the extra `cli`; import it where something is shown, not before.
"""

from __future__ import annotations

from decimal import Decimal

from rich.align import Align
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from langchain_oneshot_voice.outcome import plain
from langchain_oneshot_voice.schemas import TranscriptTurn, VoiceCallQuote, VoiceCallResult

_WIDTH = 78
_BUBBLE = 52


def quote_panel(quote: VoiceCallQuote) -> Panel:
    """The price by line, whom it calls, and what the service takes success to be."""
    prices = Table.grid(padding=(0, 2))
    prices.add_column()
    prices.add_column(justify="right")
    minutes = f"The call, about {quote.estimated_minutes} min" if quote.estimated_minutes else ""
    for label, amount in (
        (minutes or "The call", quote.call_cost),
        ("Handling", quote.pipeline_fee),
        ("A number to call from, once", quote.phone_registration_fee),
    ):
        if amount:
            prices.add_row(label, _dollars(amount))
    prices.add_row(Text("Total", style="bold"), Text(_dollars(quote.total), style="bold"))
    what = "Conference" if quote.conference else "Call"
    to = ", ".join(map(plain, quote.numbers))
    parts: list[RenderableType] = [Text(f"{what} to {to}"), prices]
    if quote.success_criteria:
        parts.append(Text("\nIt succeeds when", style="dim"))
        parts += [Text(f"  · {plain(criterion)}") for criterion in quote.success_criteria]
    return Panel(Group(*parts), title="Quote", title_align="left", width=_WIDTH, style="cyan")


def result_panel(result: VoiceCallResult) -> Panel:
    """The verdict, the conversation from both sides, what it came to and what it cost."""
    verdict, colour = {
        "success": ("Achieved its objective", "green"),
        "failure": ("Did not achieve its objective", "red"),
        "unknown": ("Not clear whether it achieved its objective", "yellow"),
    }[result.call_successful]
    if result.call_status != "completed":
        verdict = f"{verdict} ({result.call_status.replace('_', ' ')})"
    parts: list[RenderableType] = [Text(verdict, style=f"bold {colour}"), Text(_facts(result))]
    if result.summary:
        parts.append(Text(f"“{plain(result.summary)}”", style="italic"))
    if result.transcript:
        parts.append(Text())
        parts += [_bubble(turn) for turn in result.transcript]
    return Panel(Group(*parts), title="Call", title_align="left", width=_WIDTH, border_style=colour)


def _bubble(turn: TranscriptTurn) -> RenderableType:
    ours = turn.speaker == "caller"
    said = plain(turn.text)
    bubble = Panel(
        Text(said),
        title=plain(turn.speaker),
        title_align="left" if ours else "right",
        width=min(max(len(said), len(turn.speaker) + 4) + 4, _BUBBLE),
        border_style="blue" if ours else "magenta",
    )
    return Align(bubble, "left" if ours else "right")


def _facts(result: VoiceCallResult) -> str:
    cost = result.cost.charged if result.cost.charged is not None else result.cost.quoted
    seconds = result.duration_seconds
    facts = [
        {"nobody": "nobody answered", "unknown": ""}.get(
            result.answered_by, f"a {result.answered_by.replace('_', ' ')} answered"
        ),
        f"{int(seconds) // 60}:{int(seconds) % 60:02d} min" if seconds is not None else "",
        f"{_dollars(cost)} paid" if cost is not None else "",
        f"{_dollars(result.cost.credit_issued)} credited back" if result.cost.credit_issued else "",
    ]
    return " · ".join(fact for fact in facts if fact)


def _dollars(amount: Decimal) -> str:
    return f"${amount:,.2f}"
