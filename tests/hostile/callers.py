"""Starts, orders and ends the processes that are attacked."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args

import langchain_oneshot_voice
from hostile.caller_process import SOCKETS, Order, Outcome, Report

Transport = Literal["aiohttp", "httpx2", "httpx"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)


_LEAVING = 5.0
"""Seconds in which a process must end by itself."""


class Callers:
    """A process for each transport, in which calls are placed.

    They are forked from another one, which has imported what they need.
    """

    def __init__(self, log: Path) -> None:
        tests = Path(__file__).parents[1]
        package = Path(langchain_oneshot_voice.__file__).parents[1]
        clean = {name: v for name, v in os.environ.items() if not name.startswith("ONESHOT_")}
        paths = os.pathsep.join([str(package), str(tests)])
        settings = {"LANGSMITH_TRACING": "false", "LANGCHAIN_TRACING_V2": "false"}
        pairs = {transport: socket.socketpair() for transport in TRANSPORTS}
        theirs = {transport: pair[1].fileno() for transport, pair in pairs.items()}
        sockets = ",".join(f"{transport}={number}" for transport, number in theirs.items())
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hostile.caller_process"],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=clean | settings | {"PYTHONPATH": paths, SOCKETS: sockets},
                pass_fds=tuple(theirs.values()),
                start_new_session=True,
            )
        for _, end in pairs.values():
            end.close()
        self._sockets = {transport: pair[0] for transport, pair in pairs.items()}

    def play(
        self, orders: Mapping[Transport, Order], seconds: float
    ) -> dict[Transport, Report | Literal["died", "silent"]]:
        """Play a round in each process that has an order, at the same time."""
        for transport, order in orders.items():
            try:
                self._sockets[transport].sendall(json.dumps(asdict(order)).encode() + b"\n")
            except ConnectionError:
                continue  # it has died, which its answer tells
        give_up = time.monotonic() + seconds
        return {
            transport: _answer(self._sockets[transport], give_up - time.monotonic())
            for transport in orders
        }

    def end(self) -> None:
        """Tell all of them that there are no more orders; kill those that do not end then."""
        for each in self._sockets.values():
            each.close()
        try:
            self._process.wait(_LEAVING)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _answer(end: socket.socket, seconds: float) -> Report | Literal["died", "silent"]:
    """Return the one line that a process says when a round is over."""
    ready, _, _ = select.select([end], [], [], max(seconds, 0.0))
    if not ready:
        return "silent"
    try:
        with end.makefile("rb") as lines:
            fields = json.loads(lines.readline() or "null")
    except ConnectionError:
        return "died"
    if fields is None:
        return "died"
    outcomes = [Outcome(**outcome) for outcome in fields["outcomes"]]
    return Report(**fields | {"outcomes": outcomes})
