"""The sandbox in a process of its own, so that its processor time is nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_EVERY_MINUTE = 3600.0
_AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224)


def numbers(count: int) -> list[str]:
    """`count` different numbers, at most 180,000, whose lines all pick up and agree."""
    return [f"+1{_AREAS[i // 10_000]}556{i % 10_000:04d}" for i in range(count)]


@dataclass(frozen=True)
class Seen:
    """What the service has counted since it was started."""

    requests: int
    payments: int
    rings: int


class Service:
    """A running service.

    Attributes:
        base_url: where it listens.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.base_url: str = self._ask()

    def seen(self) -> Seen:
        """What it has counted so far."""
        self._tell("count")
        return Seen(*self._ask())

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _ask(self) -> Any:  # noqa: ANN401 - JSON
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def serving(seconds: float, calls: int, spread: float = 0.0) -> Iterator[Service]:
    """Run a service whose calls take `seconds`, and use all their minutes: no credit comes back.

    Credit that comes back while others ask for their price would be counted on by several of them,
    and the official client fails then.

    Args:
        seconds: how long a call takes.
        spread: seconds over which the ends of `calls` calls, placed together, are spread evenly.
        calls: how many calls are placed, to the first of `numbers`.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps([seconds, calls, spread])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Service(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


def main(seconds: float, calls: int, spread: float) -> None:
    """Serve until the input ends."""
    from langchain_oneshot_voice import Sandbox
    from langchain_oneshot_voice.sandbox import CallScript

    with Sandbox(call_seconds=seconds, balance=10_000_000) as sandbox:
        for i, number in enumerate(numbers(calls)):
            lasts = seconds + spread * i / calls
            sandbox.expect(number, CallScript(seconds=lasts, duration_seconds=_EVERY_MINUTE))
        print(json.dumps(sandbox.base_url), flush=True)
        for _ in sys.stdin:
            seen: Sequence[int] = [len(sandbox.requests), len(sandbox.payments), len(sandbox.rings)]
            print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
