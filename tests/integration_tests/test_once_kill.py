"""Exactly once, though the process dies or stands still: workers that get SIGKILL and SIGSTOP."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.kill_run import KillFigures, kill_table, run_kills
from chaos.size import KILLS
from chaos.workers import Workers, workers
from full import FULL
from postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url", "workers"]


IDS = {False: "one worker", True: "two that share their keys"}
"""Whether the killed workers share their keys."""


@pytest.mark.parametrize("shared", [False, True] if FULL else [False], ids=IDS.get)
def test_killed_workers_leave_one_payment_and_one_ring_a_call_on_sqlite(
    workers: Workers, tmp_path: Path, capsys: pytest.CaptureFixture[str], shared: bool
) -> None:
    """Hit at random moments and restarted: payments, rings and outcomes equal the calls."""
    file = str(tmp_path / "calls.sqlite")
    figures = run_kills(workers, "SQLite", file, tmp_path, kills=KILLS, seed=3, shared=shared)
    with capsys.disabled():
        print(f"\n{kill_table([figures])}")  # noqa: T201 - the figures are what it is read for
    assert _counted(figures) == (figures.asked,) * 3, figures.wrong


@pytest.mark.parametrize("shared", [False, True] if FULL else [True], ids=IDS.get)
def test_killed_workers_leave_one_payment_and_one_ring_a_call_on_postgresql(
    workers: Workers,
    postgres_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shared: bool,
) -> None:
    """The same, with the journal in PostgreSQL."""
    figures = run_kills(
        workers, "PostgreSQL", postgres_url, tmp_path, kills=KILLS, seed=4, shared=shared
    )
    with capsys.disabled():
        print(f"\n{kill_table([figures])}")  # noqa: T201 - likewise
    assert _counted(figures) == (figures.asked,) * 3, figures.wrong


def _counted(figures: KillFigures) -> tuple[int, int, int]:
    return figures.payments, figures.rings, figures.outcomes
