"""Runs the sandbox in a terminal: prints how to use it, and then a log of its events.

Importing this module needs the extra `cli`.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from types import FrameType

from rich.console import Console
from rich.logging import RichHandler
from rich.panel import Panel
from rich.table import Table

from .chain import CHAINS
from .line import MAGIC_NUMBERS
from .server import Sandbox
from .switchboard import logger

_FAILED = 1
_USAGE_ERROR = 2


def run(*, port: int, call_seconds: float, chain: str) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit status."""
    console = Console()
    if chain not in CHAINS:
        console.print(f"[red]There is no chain {chain!r}; use {' or '.join(CHAINS)}.[/red]")
        return _USAGE_ERROR
    try:
        sandbox = Sandbox(port=port, call_seconds=call_seconds, chain=chain)
        sandbox.start()
    except ImportError as missing:
        console.print(str(missing), style="red", markup=False)
        return _USAGE_ERROR
    except OSError as error:
        console.print(f"[red]Port {port} can't be used: {error.strerror}.[/red] Try --port 0.")
        return _FAILED
    with sandbox:
        _introduce(sandbox, console)
        _log_events(console)
        _wait_for_interrupt()
        console.print("Stopping.")
    return 0


def _introduce(sandbox: Sandbox, console: Console) -> None:
    console.print(
        Panel(
            f"The voice sandbox listens on [bold]{sandbox.base_url}[/bold]\n"
            "No real phone rings and no real money moves. Ctrl-C stops it.",
            expand=False,
        )
    )
    console.print("\nPoint a program at it. The key is made up for this run and worth nothing:\n")
    _plain(console, f"export ONESHOT_BASE_URL={sandbox.base_url}")
    _plain(console, f"export ONESHOT_WALLET_PRIVATE_KEY={sandbox.private_key}")
    console.print("\nOr, in place of the key, an access token, just as worthless:\n")
    _plain(console, f"export ONESHOT_ACCESS_TOKEN={sandbox.access_token}")
    console.print("\nAsk what a call would cost:\n")
    _plain(console, _curl(sandbox))
    console.print()
    console.print(_magic_numbers())
    console.print()


def _plain(console: Console, line: str) -> None:
    """Print a line for copying: without styles and without wrapping."""
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def _curl(sandbox: Sandbox) -> str:
    return (
        f"curl {sandbox.base_url}/v1/tools/voice/call"
        f" -H 'Content-Type: application/json' -H 'X-Agent-ID: {sandbox.address}'"
        ' -d \'{"objective": "Book a table for 2 at 7pm tonight",'
        ' "target_number": "+14155551234"}\''
    )


def _magic_numbers() -> Table:
    table = Table(title="Numbers that do not end well", title_justify="left")
    table.add_column("number", no_wrap=True)
    table.add_column("what happens")
    for number, happens in MAGIC_NUMBERS.items():
        table.add_row(number, happens)
    table.add_row("any other", "a polite person answers and helps")
    return table


def _log_events(console: Console) -> None:
    handler = RichHandler(
        console=console, show_level=False, show_path=False, log_time_format="[%X]"
    )
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _wait_for_interrupt() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while not ended.is_set():
        # On Windows, Ctrl-C does not interrupt a wait without a timeout.
        ended.wait(1.0 if sys.platform == "win32" else None)
