"""Draws the life of a call from its tables, for `docs/life-of-a-call.md`.

    python -m langchain_oneshot_voice.calls.diagram docs/life-of-a-call.md

writes the drawings between their marks in the page; a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from langchain_oneshot_voice.call_states import STATES
from langchain_oneshot_voice.calls.states import AFTER


def run_diagram() -> str:
    """One run of a call, as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> Claimed"]
    lines += [
        f"    {state.__name__} --> {then.__name__}" for state in AFTER for then in AFTER[state]
    ]
    lines += ["    StartOver --> Claimed"]
    return _mermaid(lines)


def record_diagram() -> str:
    """The states on record, as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> claimed"]
    lines += [f"    {state} --> {then}" for state in STATES for then in STATES[state].follows]
    return _mermaid(lines)


def vocabulary() -> str:
    """How far a call is: on record, in a result, and in progress, as a Markdown table."""
    rows = [
        f"| `{state}` | `{facts.status}` | {f'`{facts.stage}`' if facts.stage else ''} |"
        for state, facts in STATES.items()
    ]
    return "\n".join(
        ["| on record | `call_status` | progress stage |", "| --- | --- | --- |", *rows]
    )


def page(written: str) -> str:
    """The page with its drawings as the tables have them now.

    Raises:
        ValueError: one of the marks is missing.
    """
    for name, drawing in _drawings():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        start = written.index(begin) + len(begin)
        stop = written.index(end, start)
        written = f"{written[:start]}{drawing}\n{written[stop:]}"
    return written


def _drawings() -> Iterator[tuple[str, str]]:
    yield "run", run_diagram()
    yield "record", record_diagram()
    yield "vocabulary", vocabulary()


def _mermaid(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(page(file.read_text(encoding="utf-8")), encoding="utf-8")
