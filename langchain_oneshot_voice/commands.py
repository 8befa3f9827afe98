"""The commands of `oneshot-voice`. Each one reads its options, calls the package and prints.

Needs the extra `cli`; `cli.py` checks for it before it imports this module.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

if TYPE_CHECKING:
    from langchain_oneshot_voice.journal import CallJournal, CallRecord

_INTERRUPTED = 128 + signal.SIGINT

T = TypeVar("T")


class Commands(TyperGroup):
    """The group of commands. After Ctrl-C it prints one line that states what remains to do."""

    has_begun = False
    """True once a command runs in this process."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's, or click's in older ones
        """Run a command."""
        Commands.has_begun = True
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # An import that was interrupted may fail when it is repeated, so nothing is imported.
            wording = sys.modules.get("langchain_oneshot_voice.wording")
            if wording is None:
                Commands.has_begun = False
                raise typer.Exit(_INTERRUPTED) from None
            _stop(wording.interrupted())


app = typer.Typer(
    name="oneshot-voice",
    cls=Commands,
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
    typer.Option(
        help="A path or database URL. By default the same as for a tool:"
        " ONESHOT_VOICE_JOURNAL, or a file in your data folder for the service at ONESHOT_BASE_URL."
    ),
]


@app.command()
def demo(
    call_seconds: Annotated[float, typer.Option(min=0, help="How long the call takes.")] = 4,
) -> None:
    """Watch an agent book a table by phone: no account, no money, no real phone."""
    from langchain_oneshot_voice import wording

    try:
        from langchain_oneshot_voice.demo import run_demo
    except ImportError as missing:
        _fail(
            f"The demo needs {missing.name}: "
            "pip install 'langchain-oneshot-voice[sandbox,langgraph]' langchain"
        )
    # The demo prints each step itself, so hide the warnings of the package's log.
    logging.getLogger("langchain_oneshot_voice").addHandler(logging.NullHandler())
    try:
        succeeded = run_demo(_console, call_seconds=call_seconds)
    except KeyboardInterrupt:
        _stop(wording.demo_interrupted())
    raise typer.Exit(0 if succeeded else 1)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="Where to listen; 0 for any free port.")] = 4402,
    call_seconds: Annotated[float, typer.Option(min=0, help="How long a call takes.")] = 3,
    chain: Annotated[str, typer.Option(help="base or base-sepolia.")] = "base-sepolia",
) -> None:
    """Serve the voice service on this machine: no account, no money, no real phone."""
    from langchain_oneshot_voice.sandbox.terminal import run

    raise typer.Exit(run(port=port, call_seconds=call_seconds, chain=chain))


@app.command()
def calls(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    journal: Journal = None,
) -> None:
    """List the calls in the journal, with masked numbers."""
    from langchain_oneshot_voice import wording

    stopped = _with_journal(journal, lambda book: book.paused())
    if stopped is not None:
        error = wording.calls_stopped(stopped.reason, stopped.by, stopped.since)
        _console.print(Text(error.reason, style="yellow"))
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
    """Finish the calls that stopped processes left, of all tenants, if they were or may be paid.

    Needs the credential of these calls, from the environment variables.
    """
    from langchain_oneshot_voice.errors import VoiceCallError
    from langchain_oneshot_voice.tool import VoiceCallTool
    from langchain_oneshot_voice.wording import text_for_model

    try:
        ends = VoiceCallTool(journal=journal).caller.recover(max_wait, every_tenant=True)
    except VoiceCallError as error:
        _fail(str(error))
    for end in ends:
        text = str(end) if isinstance(end, VoiceCallError) else text_for_model(end)
        _console.print(Text(text), end="\n\n")
    _console.print(f"{len(ends)} unfinished {'call' if len(ends) == 1 else 'calls'} looked at.")
    if any(isinstance(end, VoiceCallError) for end in ends):
        raise typer.Exit(1)


@app.command()
def pause(
    why: Annotated[str, typer.Option(help="The reason that every model is told.")] = "",
    journal: Journal = None,
) -> None:
    """Stop new calls of everyone who shares the journal. Placed calls continue to their end."""
    from langchain_oneshot_voice.caller import user_name
    from langchain_oneshot_voice.visible_text import plain

    stopped = _with_journal(journal, lambda book: book.pause(why, by=user_name()))
    age = _age(max(time.time() - stopped.since, 0))
    _console.print(Text(f"All calls are stopped ({plain(stopped.by)}, {age} ago). To allow them:"))
    _console.print("  oneshot-voice resume")


@app.command()
def resume(journal: Journal = None) -> None:
    """Allow calls again."""
    was_stopped = _with_journal(journal, lambda book: book.resume())
    _console.print("Calls are allowed again." if was_stopped else "Calls were not stopped.")


@app.command()
def forget(
    older_than: Annotated[
        str, typer.Option(help="Time since the end of the call, such as 30d, 12h or 0s.")
    ],
    journal: Journal = None,
) -> None:
    """Erase words and numbers from old calls, and keep their costs."""
    age = _AGE.fullmatch(older_than.strip())
    if age is None:
        _fail("--older-than takes a number and a unit: 45m, 12h, 30d or 4w.")
    seconds = int(age[1]) * _SECONDS[age[2]]
    count = _with_journal(journal, lambda book: book.forget(float(seconds)))
    _console.print(f"{count} {'call' if count == 1 else 'calls'} forgotten.")


@app.command()
def suppress(
    numbers: Annotated[list[str] | None, typer.Argument(help="Such as +14155550100.")] = None,
    reason: Annotated[
        str, typer.Option(help="The reason, for readers of the list.")
    ] = "on request",
    listed: Annotated[bool, typer.Option("--list", help="Show the list.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the numbers off it.")] = False,
    journal: Journal = None,
) -> None:
    """Edit or show the do-not-call list. Numbers are masked."""
    from langchain_oneshot_voice.do_not_call import read_listed
    from langchain_oneshot_voice.errors import VoiceCallError
    from langchain_oneshot_voice.schemas import mask_number

    if listed == bool(numbers) or (listed and remove):
        _fail("Give the numbers to list, or --remove and numbers, or --list alone.")
    if listed:
        _show_suppressed(journal)
        return
    try:
        wanted = read_listed(numbers or ())
    except VoiceCallError as error:
        _fail(error.reason)
    if remove:
        _unsuppress(journal, wanted)
        return
    _with_journal(journal, lambda book: book.suppress(wanted, reason))
    _console.print(Text(f"Not to be called: {', '.join(map(mask_number, wanted))}."))


@app.command()
def report(
    days: Annotated[float, typer.Option(min=0, help="How far to look back.")] = 30,
    plot: Annotated[Path | None, typer.Option(help="Save a plot: .png, .svg or .pdf.")] = None,
    journal: Journal = None,
) -> None:
    """Show the outcomes and costs of calls for each day (UTC)."""
    from langchain_oneshot_voice.errors import VoiceCallError
    from langchain_oneshot_voice.journal import JournalError
    from langchain_oneshot_voice.report import HEADINGS, calls_frame, cells

    try:
        frame = calls_frame(_address(journal), days=days)
        if plot is not None:
            frame.plot(plot)
    except (JournalError, VoiceCallError) as error:
        _fail(str(error))
    except (OSError, ValueError) as error:
        _fail(f"The plot can't be saved: {error}")
    if not frame.rows:
        _console.print("No calls in this time.")
        return
    table = Table(*HEADINGS)
    for heading, column in zip(HEADINGS, table.columns, strict=True):
        column.justify = "left" if heading in {"Day", "Came to"} else "right"
    for day in frame.days:
        table.add_row(*cells(day))
    _console.print(table)
    if plot is not None:
        _console.print(Text(f"Plotted to {plot}."))


def _show_suppressed(journal: str | None) -> None:
    from langchain_oneshot_voice.schemas import mask_number
    from langchain_oneshot_voice.visible_text import plain

    people = _with_journal(journal, lambda book: book.suppressions())
    if not people:
        _console.print("Nobody is on the list.")
        return
    table = Table("Number", "Age", "Reason")
    for person in people:
        age = _age(time.time() - person.since)
        table.add_row(mask_number(person.number), age, Text(plain(person.reason)))
    _console.print(table)


def _unsuppress(journal: str | None, numbers: Sequence[str]) -> None:
    from langchain_oneshot_voice.schemas import mask_number

    async def unsuppress(book: CallJournal) -> list[str]:
        return [number for number in numbers if not await book.unsuppress(number)]

    missing = _with_journal(journal, unsuppress)
    if missing:
        _fail(f"Not on the list: {', '.join(map(mask_number, missing))}.")
    _console.print(Text(f"May be called again: {', '.join(map(mask_number, numbers))}."))


def _row(record: CallRecord) -> tuple[str | Text, ...]:
    from langchain_oneshot_voice.oneshot.results import read_result
    from langchain_oneshot_voice.schemas import mask_number
    from langchain_oneshot_voice.visible_text import plain

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
    from langchain_oneshot_voice.engine import ENGINE
    from langchain_oneshot_voice.errors import VoiceCallError
    from langchain_oneshot_voice.journal import CallJournal, JournalError

    async def open_and_work() -> T:
        book = CallJournal(_address(where))
        try:
            return await work(book)
        finally:
            await book.aclose()

    try:
        return ENGINE.call(open_and_work)
    except (JournalError, VoiceCallError) as error:
        _fail(str(error))


def _address(where: str | None) -> str | Path:
    """Return the address of the journal that a tool with the same environment would use."""
    from langchain_oneshot_voice.journal import address
    from langchain_oneshot_voice.oneshot.environment import PRODUCTION_URL, Environment

    # The sandbox on each port has a journal of its own, apart from that of the real service.
    service = Environment.at(os.environ.get("ONESHOT_BASE_URL") or PRODUCTION_URL)
    return address(where, sandbox_port=service.sandbox_port)


def _stop(message: str) -> NoReturn:
    """Print what remains to do, and exit with the status for Ctrl-C."""
    _errors.print(Text(message), soft_wrap=True)
    raise typer.Exit(_INTERRUPTED)


def _fail(why: str) -> NoReturn:
    _errors.print(Text(why, style="red"))
    raise typer.Exit(2)
