"""Draws the diagrams of `docs/life-of-a-call.md` from the tables of states.

    python -m langchain_oneshot_voice.calls.diagram docs/life-of-a-call.md

writes each diagram between its marks in the page. A test checks that the page is up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from langchain_oneshot_voice.call_states import STATES
from langchain_oneshot_voice.calls.states import AFTER


def run_diagram() -> str:
    """Return the states of one run of a call as a Mermaid diagram."""
    lines = ["stateDiagram-v2", "    [*] --> Claimed"]
    lines += [
        f"    {state.__name__} --> {then.__name__}" for state in AFTER for then in AFTER[state]
    ]
    lines += ["    StartOver --> Claimed"]
    return _mermaid(lines)


def record_diagram() -> str:
    """Return the states in the journal as a Mermaid diagram."""
    lines = ["stateDiagram-v2", "    [*] --> claimed"]
    lines += [f"    {state} --> {then}" for state in STATES for then in STATES[state].follows]
    return _mermaid(lines)


def vocabulary() -> str:
    """Return a Markdown table of each state's names: in the journal, results and progress."""
    rows = [
        f"| `{state}` | `{facts.status}` | {f'`{facts.stage}`' if facts.stage else ''} |"
        for state, facts in STATES.items()
    ]
    return "\n".join(
        ["| on record | `call_status` | progress stage |", "| --- | --- | --- |", *rows]
    )


def page(written: str) -> str:
    """Return the page with diagrams that match the current tables.

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
