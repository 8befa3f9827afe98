"""The worker that is killed: a warm process which forks a child for every attempt.

Imports cost two seconds, and a child that is killed after a tenth of one would never get anywhere.
So this process imports once, starts no thread, and forks. It reads a task a line from stdin, and
writes what became of its children, a line each, to stdout: `{"forked": pid}`, then
`{"ended": pid, "status": code}`. A child writes what its calls came to into the task's own file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from eth_account import Account
from placing import FAST_PACE
from pydantic import SecretStr

from chaos.callers import UNLIMITED
from langchain_oneshot_voice.caller import VoiceCaller
from langchain_oneshot_voice.calls.call_key import CallKey
from langchain_oneshot_voice.calls.services import Patience
from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.errors import VoiceCallError
from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.oneshot.client import Timeouts
from langchain_oneshot_voice.oneshot.wallet import WalletKey
from langchain_oneshot_voice.policy import CallPolicy
from langchain_oneshot_voice.schemas import VoiceCallInput

_PATIENCE = Patience(settle=60.0, unsent=5.0, pause=0.02, longest_pause=0.2, at_cancel=2.0)


def work(task: dict[str, Any]) -> None:
    """Place the task's calls, all at once, and write down what each came to."""
    journal = CallJournal(task["journal"])
    policy = CallPolicy.model_validate(UNLIMITED.model_dump() | task.get("policy", {}))
    caller = VoiceCaller(
        WalletKey(SecretStr(task["private_key"])),
        base_url=task["base_url"],
        policy=policy,
        journal=journal,
        max_wait=task.get("max_wait", 60.0),
        timeouts=Timeouts(connect=5.0, quote=20.0, place=20.0, read=10.0),
        pace=FAST_PACE,
        patience=_PATIENCE,
    )

    async def place(call: dict[str, str]) -> dict[str, Any]:
        request = VoiceCallInput(objective=call["objective"], target_number=call["number"])
        key = CallKey.of(request, idempotency_key=call["key"])
        try:
            result = await caller.acall(request, call_key=key)
        except VoiceCallError as error:
            return {"key": call["key"], "error": error.code, "charged": error.charged}
        return {
            "key": call["key"],
            "status": result.call_status,
            "request_id": result.request_id,
            "summary": result.summary,
        }

    async def place_all() -> list[dict[str, Any]]:
        return await asyncio.gather(*(place(call) for call in task["calls"]))

    _wait_for_start(task.get("start_at"))
    ends = asyncio.run(place_all())
    Path(task["result"]).write_text(json.dumps(ends))
    ENGINE.call(journal.aclose)
    ENGINE.stop()


def _wait_for_start(moment: float | None) -> None:
    """Begin together with the other children of a race."""
    while moment is not None and time.time() < moment:
        time.sleep(0.001)


def _fork(task: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(task)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def _say(**news: object) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def _warm_up() -> None:
    """Whatever is imported lazily is imported now."""
    import psycopg  # noqa: F401
    import websockets.asyncio.client  # noqa: F401

    WalletKey(SecretStr("0x" + bytes(Account.create().key).hex())).proof("read", time.time())


def main() -> None:
    """Serve until stdin ends: each line is a list of tasks that run beside each other."""
    _warm_up()
    _say(ready=True)
    for line in sys.stdin:
        children = {_fork(task) for task in json.loads(line)}
        for pid in children:
            _say(forked=pid)
        while children:
            pid, status = os.wait()
            children.discard(pid)
            _say(ended=pid, status=status)


if __name__ == "__main__":
    main()
