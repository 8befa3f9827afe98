"""The entry point of `oneshot-voice`: it says what to install where the extra `cli` is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich")
_USAGE_ERROR = 2


def main() -> None:
    """Run the program; without its packages, say so and exit with status 2."""
    if any(find_spec(name) is None for name in _NEEDED):
        sys.stderr.write(
            "oneshot-voice needs more packages: pip install 'langchain-oneshot-voice[cli]'\n"
        )
        raise SystemExit(_USAGE_ERROR)
    from langchain_oneshot_voice.commands import app  # noqa: PLC0415 - its packages are optional

    app()


if __name__ == "__main__":
    main()
