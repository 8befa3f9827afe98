"""The entry point of `oneshot-voice`. Without the extra `cli` it names what to install."""

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
_STOP_TIMEOUT = 0.3
"""Time for running calls to record their state after Ctrl-C, in seconds."""


def main() -> None:
    """Run the program, or exit with status 2 if its packages are missing."""
    if any(find_spec(name) is None for name in _NEEDED):
        sys.stderr.write(
            "oneshot-voice needs more packages: pip install 'langchain-oneshot-voice[cli]'\n"
        )
        raise SystemExit(_USAGE_ERROR)
    begun = False
    try:
        from langchain_oneshot_voice.commands import Commands, app  # noqa: PLC0415 - an extra

        try:
            app()
        finally:
            begun = Commands.has_begun
    except (KeyboardInterrupt, SystemExit) as ended:
        interrupted = isinstance(ended, KeyboardInterrupt) or ended.code == _INTERRUPTED
        if not interrupted:
            raise
        if not begun:  # typer says nothing when it is interrupted itself
            sys.stderr.write("\nStopped before anything was done.\n")
            raise SystemExit(_INTERRUPTED) from None
        _exit_now()


def _exit_now() -> NoReturn:
    """Exit soon, even if a thread is blocked, for example by a locked database.

    This loses no outcome: the journal allows another run to continue after a crash.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine = sys.modules.get("langchain_oneshot_voice.engine")
    if engine is not None:
        stopping = threading.Thread(target=engine.ENGINE.stop, daemon=True)
        stopping.start()
        stopping.join(_STOP_TIMEOUT)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
