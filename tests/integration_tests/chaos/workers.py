"""Workers: the test's end of the zygote, which forks, kills and waits for them."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HERE = Path(__file__).parent
_START_SECONDS = 60.0
_LONGEST_RUN = 120.0


class Workers:
    """A warm process whose children place calls. Its stderr goes to `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._news: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

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
        if kind is not None:
            self._process.kill()
        self._process.wait(_LONGEST_RUN)
        self._reader.join()
        self._process.stdout.close()

    def start(self, *tasks: dict[str, Any]) -> list[int]:
        """Fork a child for each task; returns their process ids."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(tasks) + "\n")
        self._process.stdin.flush()
        return [self._hear("forked", _START_SECONDS)["forked"] for _ in tasks]

    def kill(self, pid: int) -> bool:
        """SIGKILL a child that was started and not waited for; whether it was still alive."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return bool(self._hear("ended", _LONGEST_RUN)["status"] == signal.SIGKILL)

    def wait(self, pids: list[int]) -> None:
        """Wait for children to end well.

        Raises:
            RuntimeError: when one did not; what it said is in the log.
        """
        ends = [self._hear("ended", _LONGEST_RUN) for _ in pids]
        if any(end["status"] for end in ends):
            raise RuntimeError(f"a worker failed:\n{self._log.read_text()[-4000:]}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._news.put(json.loads(line))

    def _hear(self, what: str, seconds: float) -> dict[str, Any]:
        try:
            news = self._news.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError(f"no word of {what}:\n{self._log.read_text()[-4000:]}") from None
        assert what in news, news
        return news


def _importable() -> str:
    """What tests import is in two folders; a worker's interpreter has to be told of them."""
    told = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [told, str(_HERE.parent), str(_HERE.parents[1])]))
