"""Workers: the test's end of the zygote, which forks processes that place calls, or run programs.

They are killed, frozen and waited for from here.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

_HERE = Path(__file__).parent
_START_SECONDS = 60.0
_LONGEST_RUN = 120.0


_running: list[Workers] = []


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Processes that place calls: from one warm process for all tests that import this fixture."""
    if _running:
        yield _running[0]
        return
    with Workers(tmp_path_factory.mktemp("workers") / "log") as started:
        _running.append(started)
        yield started
        _running.clear()


@dataclass(frozen=True)
class Ran:
    """What a program came to, as `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Program:
    """A program that runs."""

    workers: Workers
    pid: int
    output: Path
    errors: Path

    def end(self) -> Ran:
        """Wait for its end."""
        status = self.workers.end_of(self.pid)
        # A wait status as `os.waitpid` gives it: of an exit, the code is in the higher byte.
        return Ran(
            os.waitstatus_to_exitcode(status), self.output.read_text(), self.errors.read_text()
        )


class Workers:
    """A warm process whose children place calls. Its stderr goes to `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._ended: dict[int, int] = {}
        self._running: set[int] = set()
        self._programs = 0

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "chaos.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": _importable()},
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._hear("ready", _START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        for pid in tuple(self._running):
            self.kill(pid)
        self._process.wait(_LONGEST_RUN)
        self._reader.join()
        self._process.stdout.close()

    def start(self, *tasks: dict[str, Any]) -> list[int]:
        """Fork a child for each task; returns their process ids."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(tasks) + "\n")
        self._process.stdin.flush()
        pids = [self._hear("forked", _START_SECONDS)["forked"] for _ in tasks]
        self._running.update(pids)
        return pids

    def run(self, program: str, *arguments: object, **environment: str) -> Ran:
        """Run a program to its end in a process of its own; a cold start would take a second."""
        return self.begin(program, *arguments, **environment).end()

    def begin(self, program: str, *arguments: object, **environment: str) -> Program:
        """Begin a program in a process of its own."""
        self._programs += 1
        files = [self._log.with_name(f"program-{self._programs}.{end}") for end in ("out", "err")]
        (pid,) = self.start(
            {
                "program": program,
                "arguments": [str(argument) for argument in arguments],
                "environment": environment,
                "output": str(files[0]),
                "errors": str(files[1]),
            }
        )
        return Program(self, pid, *files)

    def works(self, pid: int) -> bool:
        """Whether a child that was started has not ended."""
        while pid not in self._ended and not self._news.empty():
            self._hear("ended", _START_SECONDS)
        return pid not in self._ended

    def kill(self, pid: int) -> bool:
        """SIGKILL a child that was started and not waited for; whether it was still alive."""
        self._signal(pid, signal.SIGKILL)
        return self._end_of(pid) == signal.SIGKILL

    def freeze(self, pid: int) -> None:
        """Stop a child where it stands."""
        self._signal(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        """Let a frozen child go on."""
        self._signal(pid, signal.SIGCONT)

    def cancel(self, pid: int) -> None:
        """Let a child cancel its calls; it lives on until it is killed."""
        self._signal(pid, signal.SIGUSR1)

    def wait(self, pids: list[int]) -> None:
        """Wait for children to end well.

        Raises:
            RuntimeError: when one did not; what it said is in the log.
        """
        statuses = [self._end_of(pid) for pid in pids]
        if any(statuses):
            raise RuntimeError(f"a worker failed:\n{self._log.read_text()[-4000:]}")

    def end_of(self, pid: int) -> int:
        """Wait for a child's end; its status as `os.waitpid` gives it."""
        return self._end_of(pid)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        if self.works(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end_of(self, pid: int) -> int:
        while pid not in self._ended:
            self._hear("ended", _LONGEST_RUN)
        self._running.discard(pid)
        return self._ended[pid]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._news.put(json.loads(line))

    def _hear(self, what: str, seconds: float) -> dict[str, Any]:
        """Wait for news of a kind; that a child has ended may come in between."""
        while True:
            try:
                news = self._news.get(timeout=seconds)
            except queue.Empty:
                raise TimeoutError(f"no word of {what}:\n{self._log.read_text()[-4000:]}") from None
            if "ended" in news:
                self._ended[news["ended"]] = news["status"]
            if what in news:
                return news
            assert "ended" in news, news


def _importable() -> str:
    """What tests import is in two folders; a worker's interpreter has to be told of them."""
    told = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [told, str(_HERE.parent), str(_HERE.parents[1])]))
