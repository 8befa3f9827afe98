"""The worker that is killed: a warm process which forks a child for every attempt.

Imports cost two seconds, and a child that is killed after a tenth of one would never get anywhere.
So this process imports once, starts no thread, and forks. It reads a list of tasks a line from
stdin, and writes what became of its children, a line each, to stdout: `{"forked": pid}`, and
`{"ended": pid, "status": code}`. A child writes what its calls came to into the task's own file.

A task has `journal`, `base_url`, `private_key` or `access_token`, `calls`, `result`, and perhaps:

- `heartbeat`, `lease`: of its journal.
- `usual_timing`: true for the times that users have.
- `start_at`: when to begin, in epoch seconds.
- `jump`: when the clock jumps, in epoch seconds, and by how much.
- `timeout`: seconds to wait for an answer to a quote or a payment.

A child that gets SIGUSR1 cancels its calls, and lives on until it is killed.

Or a task is any `program`, with `arguments`, `environment`, and `output` and `errors`, the files
for what it writes.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

from placing import FAST
from pydantic import SecretStr

from chaos.callers import UNLIMITED, CallerByClock, MovedClock
from chaos.warm_up import warm_up
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.oneshot.wallet import AccessToken, WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.schemas import VoiceCallInput
from langchain_oneshot_voice.timing import Timing

_TIMING = replace(
    FAST,
    connect=5.0,
    answer=10.0,
    payment_unsent=5.0,
    payment_expired=60.0,
    account_approval=300.0,
    pause=0.02,
)
_LOOK_SECONDS = 0.01


class Work:
    """One task."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        timing = {name: task[name] for name in ("heartbeat", "lease") if name in task}
        self._journal = CallJournal(task["journal"], **timing)
        self._clock = MovedClock(self._journal)
        self._cancelled = False

    def do(self) -> None:
        """Place the task's calls, all at once, and write down what each came to."""
        _wait_for(self._task.get("start_at", 0.0))
        asyncio.run(self._place_all())
        ENGINE.call(self._journal.aclose)
        ENGINE.stop()

    async def _place_all(self) -> None:
        placing = [asyncio.create_task(self._place(call)) for call in self._task["calls"]]
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._cancel, placing)
        if "jump" in self._task:
            moment, seconds = self._task["jump"]
            loop.call_later(max(0.0, moment - time.time()), self._clock.move, seconds)
        await asyncio.wait(placing)
        if self._cancelled:
            await asyncio.Event().wait()
        self._write([task.result() for task in placing])

    def _cancel(self, placing: list[asyncio.Task[dict[str, Any]]]) -> None:
        self._cancelled = True
        for task in placing:
            task.cancel()

    async def _place(self, call: dict[str, str]) -> dict[str, Any]:
        request = VoiceCallInput(objective=call["objective"], target_number=call["number"])
        key = CallKey.of(request, idempotency_key=call["key"])
        try:
            result = await self._caller().acall(request, call_key=key)
        except VoiceCallError as error:
            return {"key": call["key"], "error": error.code, "charged": error.charged}
        return {
            "key": call["key"],
            "status": result.call_status,
            "request_id": result.request_id,
            "summary": result.summary,
        }

    def _caller(self) -> CallerByClock:
        task = self._task
        timeout = task.get("timeout", 20.0)
        timing = Timing() if task.get("usual_timing") else _TIMING
        token = task.get("access_token")
        return CallerByClock(
            AccessToken(SecretStr(token)) if token else WalletKey(SecretStr(task["private_key"])),
            base_url=task["base_url"],
            policy=CallPolicy.model_validate(UNLIMITED.model_dump() | task.get("policy", {})),
            journal=self._journal,
            max_wait=task.get("max_wait", 60.0),
            timing=replace(timing, quote=timeout, payment=timeout),
            clock=self._clock,
        )

    def _write(self, what: object) -> None:
        """Write the task's own file, whole or not at all."""
        result = Path(self._task["result"])
        unfinished = result.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(what))
        unfinished.replace(result)


def run_program(task: dict[str, Any]) -> int:
    """Run a task's program as the interpreter does; its exit status."""
    for name, descriptor in (("output", 1), ("errors", 2)):
        os.dup2(os.open(task[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.environ.update(task["environment"])
    sys.argv = ["-c", *task["arguments"]]
    status: object = 0
    try:
        exec(compile(task["program"], "<program>", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001 - whatever ends a program
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return status if isinstance(status, int) else 1


def _wait_for(moment: float) -> None:
    """Begin together with the other children of a race."""
    while time.time() < moment:
        time.sleep(0.001)


def _fork(task: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if "program" in task:
                status = run_program(task)
            else:
                Work(task).do()
                status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def _say(**news: object) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until stdin ends: each line is a list of tasks that run beside each other."""
    warm_up()
    _say(ready=True)
    children: set[int] = set()
    unread, reading = b"", True
    while reading or children:
        ready, _, _ = select.select(
            [sys.stdin] if reading else [], [], [], _LOOK_SECONDS if children else None
        )
        if ready:
            came = os.read(sys.stdin.fileno(), 2**16)
            reading = bool(came)
            *lines, unread = (unread + came).split(b"\n")
            for line in lines:
                for task in json.loads(line):
                    children.add(pid := _fork(task))
                    _say(forked=pid)
        while children and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            children.discard(ended[0])
            _say(ended=ended[0], status=ended[1])


if __name__ == "__main__":
    main()
