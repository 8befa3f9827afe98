"""Never lost: a process is killed while its calls go on, and another one reads the outcomes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dying import CASES, Case
from person import open_questions
from phone import ledger

from langchain_oneshot_voice import CallProgress, Sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

HERE = Path(__file__).parent
CALL_SECONDS = 5.5
"""Longer than a second process needs, so that it takes over a call that still goes on."""
TAKEN_OVER = 5.0
SLACK = 0.5
"""Seconds for a busy machine."""


@dataclass(frozen=True)
class SecondLife:
    """What a second process saw of a case, in seconds since the first one was killed."""

    state: Any
    placed: float | None


@dataclass(frozen=True)
class Lives:
    """All cases, run by a process that was killed and then by this one."""

    sandbox: Sandbox
    rung_at_death: list[str]
    second: dict[str, SecondLife]


def start(folder: Path, sandbox: Sandbox) -> subprocess.Popen[bytes]:
    """Start a process that runs all cases."""
    surroundings = os.environ | environment(folder, sandbox)
    path = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    surroundings["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    names = json.dumps([case.name for case in CASES])
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, str(HERE / "dying.py"), str(folder), names],
            env=surroundings,
            stdout=log,
            stderr=log,
        )


def environment(folder: Path, sandbox: Sandbox) -> dict[str, str]:
    """Return the variables that configure a tool for the sandbox and a shared journal."""
    return {
        "ONESHOT_WALLET_PRIVATE_KEY": sandbox.private_key,
        "ONESHOT_BASE_URL": sandbox.base_url,
        "ONESHOT_VOICE_JOURNAL": str(folder / "calls.sqlite"),
        "LANGSMITH_TRACING": "false",
    }


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Kill a process while all its phones ring, and run its graphs again in this one."""
    folder = tmp_path_factory.mktemp("lives")
    with Sandbox(call_seconds=CALL_SECONDS) as sandbox, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(folder, sandbox).items():
            patch.setenv(name, value)
        first = start(folder, sandbox)
        try:
            sandbox.wait_until(lambda: bool(sandbox.rings), seconds=40)
            # A call that does not ring soon fails its own test, and no other one's.
            with suppress(TimeoutError):
                sandbox.wait_until(lambda: len(sandbox.rings) >= len(CASES), seconds=3)
        except TimeoutError:
            pytest.fail((folder / "log").read_text()[-4000:])
        finally:
            first.kill()
            first.wait()
        killed, at_death = time.monotonic(), ledger(sandbox)[0]

        def live_again(case: Case) -> SecondLife:
            placed: list[float] = []

            def told(progress: CallProgress) -> None:
                if progress.stage == "placed":
                    placed.append(time.monotonic() - killed)

            state = case.run(folder, case.tool(told), None)
            return SecondLife(state, placed[0] if placed else None)

        with ThreadPoolExecutor(len(CASES)) as pool:
            second = dict(zip([c.name for c in CASES], pool.map(live_again, CASES), strict=True))
        yield Lives(sandbox, at_death, second)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_process_s_call_is_taken_over_within_five_seconds(lives: Lives, case: Case) -> None:
    """The graph runs again with default timing, and soon waits on the call that was placed."""
    placed = lives.second[case.name].placed
    assert case.number in lives.rung_at_death
    assert placed is not None, "the call was not taken over"
    assert placed < TAKEN_OVER + SLACK


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_killed_process_s_call_is_paid_once(lives: Lives, case: Case) -> None:
    """The first process paid; the second one reads the outcome, and nobody is asked again."""
    assert case.number in lives.rung_at_death
    rings = [ring.request_id for ring in lives.sandbox.rings if ring.number == case.number]
    paid = [p for p in lives.sandbox.payments if p.request_id in rings and p.kind == "usdc"]
    seen = (open_questions(lives.second[case.name].state), len(rings), len(paid))
    assert seen == ([], 1, 1)


def test_outcome_is_read_by_the_second_process(lives: Lives) -> None:
    """Every tool message of the second process has the outcome of the first one's call."""
    states = [lives.second[c.name].state for c in CASES if "tool node" in c.name]
    statuses = [getattr(s["messages"][-1].artifact, "call_status", None) for s in states]
    assert statuses == ["completed"] * len(states)
