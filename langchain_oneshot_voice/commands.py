"""The commands of `oneshot-voice`: each reads its options, calls the package, and prints.

Needs the extra `cli`; `cli.py` checks for it before this is imported.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallJournal, CallRecord, JournalError
from langchain_oneshot_voice.outcome import plain, read_result, text_for_model
from langchain_oneshot_voice.schemas import mask_number

T = TypeVar("T")

app = typer.Typer(
    name="oneshot-voice",
    help="Real phone calls for LangChain agents, and a sandbox to try them in.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may be a key
)

_console = Console()
_errors = Console(stderr=True)

_AGE = re.compile(r"(\d+)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

Journal = Annotated[
    str | None,
    typer.Option(help="A path or database URL; ONESHOT_VOICE_JOURNAL or your own file by default."),
]


@app.command()
def demo(
    call_seconds: Annotated[float, typer.Option(min=0, help="How long the call takes.")] = 4,
) -> None:
    """Watch an agent book a table by phone: no account, no money, no real phone."""
    try:
        from langchain_oneshot_voice.demo import run_demo  # noqa: PLC0415 - needs more extras
    except ImportError as missing:
        _fail(
            f"The demo needs {missing.name}: "
            "pip install 'langchain-oneshot-voice[sandbox,langgraph]' langchain"
        )
    raise typer.Exit(0 if run_demo(_console, call_seconds=call_seconds) else 1)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Where to listen; 0 for any free port.")] = 4402,
    call_seconds: Annotated[float, typer.Option(min=0, help="How long a call takes.")] = 3,
    chain: Annotated[str, typer.Option(help="base or base-sepolia.")] = "base-sepolia",
) -> None:
    """Serve the voice service on this machine: no account, no money, no real phone."""
    from langchain_oneshot_voice.sandbox.terminal import run  # noqa: PLC0415 - an optional extra

    raise typer.Exit(run(port=port, call_seconds=call_seconds, chain=chain))


@app.command()
def calls(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    journal: Journal = None,
) -> None:
    """List the calls that the journal knows, numbers masked."""
    records = _with_journal(journal, lambda book: book.recent(limit=limit))
    if not records:
        _console.print("No calls yet.")
        return
    table = Table("Age", "To", "State", "Outcome", "Cost", "Request id")
    for record in records:
        table.add_row(*_row(record))
    _console.print(table)


@app.command()
def recover(
    max_wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for each call.")] = 60,
    journal: Journal = None,
) -> None:
    """Finish what dead processes left: calls that were paid for, or may have been.

    Needs the credential that they were made with, from the environment.
    """
    from langchain_oneshot_voice.tool import VoiceCallTool  # noqa: PLC0415 - slow to import

    try:
        ends = VoiceCallTool(journal=journal).caller.recover(max_wait)
    except VoiceCallError as error:
        _fail(str(error))
    for end in ends:
        said = str(end) if isinstance(end, VoiceCallError) else text_for_model(end)
        _console.print(Text(said), end="\n\n")
    _console.print(f"{len(ends)} unfinished {'call' if len(ends) == 1 else 'calls'} looked at.")
    if any(isinstance(end, VoiceCallError) for end in ends):
        raise typer.Exit(1)


@app.command()
def forget(
    older_than: Annotated[str, typer.Option(help="Such as 30d, 12h or 0s: since the call ended.")],
    journal: Journal = None,
) -> None:
    """Remove what was said and to whom from old calls; what they cost stays."""
    age = _AGE.fullmatch(older_than.strip())
    if age is None:
        _fail("--older-than takes a number and a unit: 45m, 12h, 30d or 4w.")
    seconds = int(age[1]) * _SECONDS[age[2]]
    count = _with_journal(journal, lambda book: book.forget(float(seconds)))
    _console.print(f"{count} {'call' if count == 1 else 'calls'} forgotten.")


def _row(record: CallRecord) -> tuple[str | Text, ...]:
    to = ", ".join(map(mask_number, record.numbers)) or "forgotten"
    cost = record.charged if record.charged is not None else record.reserved
    outcome = record.error_code or ""
    if record.job is not None:
        result = read_result(record.job, request_id=record.request_id)
        outcome = f"{result.call_successful}, {result.answered_by}"
    return (
        _age(time.time() - record.created_at),
        to,
        record.state,
        Text(plain(outcome)),
        f"${cost:.2f}" if cost else "",
        Text(plain(record.request_id or "")),
    )


def _age(seconds: float) -> str:
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SECONDS[unit]:
            return f"{int(seconds // _SECONDS[unit])}{unit}"
    return f"{int(seconds)}s"


def _with_journal(where: str | None, work: Callable[[CallJournal], Awaitable[T]]) -> T:
    async def open_and_work() -> T:
        book = CallJournal(where)
        try:
            return await work(book)
        finally:
            await book.aclose()

    try:
        return ENGINE.call(open_and_work)
    except JournalError as trouble:
        _fail(str(trouble))


def _fail(why: str) -> NoReturn:
    _errors.print(Text(why, style="red"))
    raise typer.Exit(2)
