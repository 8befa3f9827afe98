"""The entry point of `oneshot-voice`: it says what to install where the extra `cli` is missing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.util import find_spec
from typing import NoReturn

_NEEDED = ("typer", "rich")
_USAGE_ERROR = 2
_INTERRUPTED = 128 + signal.SIGINT
_LAST_WORDS = 0.3
"""Seconds that calls in flight have, after Ctrl-C, to record how far they are."""


def main() -> None:
    """Run the program; without its packages, say so and exit with status 2."""
    if any(find_spec(name) is None for name in _NEEDED):
        sys.stderr.write(
            "oneshot-voice needs more packages: pip install 'langchain-oneshot-voice[cli]'\n"
        )
        raise SystemExit(_USAGE_ERROR)
    try:
        from langchain_oneshot_voice.commands import app  # noqa: PLC0415 - an optional extra
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped before anything was done.\n")
        raise SystemExit(_INTERRUPTED) from None
    try:
        app()
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            _leave()
        raise


def _leave() -> NoReturn:
    """End the process soon, whatever its threads wait for, such as a locked database.

    Nothing is lost by it: the record of a call is made to be read after a crash.
    """
    from langchain_oneshot_voice.engine import ENGINE  # noqa: PLC0415 - loaded with the commands

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping = threading.Thread(target=ENGINE.stop, daemon=True)
    stopping.start()
    stopping.join(_LAST_WORDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
