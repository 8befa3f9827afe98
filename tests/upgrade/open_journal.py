"""Opens a journal on a word from stdin, and says what is in it: one of two that do so at once."""

from __future__ import annotations

import asyncio
import json
import sys

from langchain_oneshot_voice import CallJournal


async def _seen(url: str) -> list[list[str | None]]:
    journal = CallJournal(url)
    try:
        return [[call.call_key, call.state, call.request_id] for call in await journal.recent()]
    finally:
        await journal.aclose()


def main() -> None:
    """Say that it is ready, wait, open, and tell."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps(asyncio.run(_seen(sys.argv[1]))))


if __name__ == "__main__":
    main()
