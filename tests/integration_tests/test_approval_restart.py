"""A person thinks it over while the process dies: another one goes on where it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from approving import calling, edit
from placing import arguments, at_any_hour

from langchain_oneshot_voice import Sandbox, VoiceCallTool

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

HERE = Path(__file__).parent
PRICE = Decimal("1.75")
APPROVE, REJECT = {"type": "approve"}, {"type": "reject", "message": "Not today."}

CASES: list[dict[str, Any]] = [
    {"name": "approve", "async": False, "calls": calling("+14155550121"), "answers": [APPROVE]},
    {
        "name": "approve_async",
        "async": True,
        "calls": calling("+14155550122"),
        "answers": [APPROVE],
    },
    {
        "name": "edit_cheaper",
        "async": True,
        "calls": calling("+14155550123"),
        "answers": [edit("+14155550133", max_duration_minutes=2)],
    },
    {
        "name": "edit_dearer",
        "async": False,
        "calls": calling("+14155550124"),
        "answers": [edit("+14155550124", max_duration_minutes=9)],
    },
    {"name": "reject", "async": False, "calls": calling("+14155550125"), "answers": [REJECT]},
    {
        "name": "respond",
        "async": True,
        "calls": calling("+14155550126"),
        "answers": [{"type": "respond", "message": "I have booked it online."}],
    },
    {
        "name": "parallel",
        "async": False,
        "calls": calling("+14155550127", "+14155550128"),
        "answers": [APPROVE, REJECT],
    },
    {
        "name": "parallel_async",
        "async": True,
        "calls": calling("+14155550129", "+14155550130"),
        "answers": [REJECT, APPROVE],
    },
]


@dataclass(frozen=True)
class Lives:
    """What two processes saw, one after the other, and the service they called."""

    sandbox: Sandbox
    asked: dict[str, Any]
    paid_while_asked: int
    answered: dict[str, Any]

    def paid(self, number: str) -> list[Decimal]:
        """What was paid, in USDC and in credits together, for each call to a number."""
        rings = [ring.request_id for ring in self.sandbox.rings if ring.number == number]
        return [
            sum((p.amount for p in self.sandbox.payments if p.request_id == i), Decimal(0))
            for i in rings
        ]

    def answer(self, case: str, number: str) -> list[str]:
        """The tool message of a case: status, content and the artifact's status."""
        return list(self.answered[case]["answers"][f"call-{number}"])


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """One process asks about every case and is killed; another gives the answers."""
    folder = tmp_path_factory.mktemp("lives")
    (folder / "cases.json").write_text(json.dumps(CASES))
    with Sandbox(call_seconds=0.05) as sandbox:
        usual: dict[str, Any] = {"private_key": sandbox.private_key, "base_url": sandbox.base_url}
        # The first call of a wallet also pays for its number, which would blur the prices.
        VoiceCallTool(**usual, policy=at_any_hour(), journal="memory").invoke(arguments())
        before = len(sandbox.payments)
        assert _live(sandbox, folder) == -signal.SIGKILL
        meanwhile = len(sandbox.payments) - before
        assert _live(sandbox, folder) == 0
        asked = json.loads((folder / "asked.json").read_text())
        answered = json.loads((folder / "answered.json").read_text())
        yield Lives(sandbox, asked, meanwhile, answered)


def _live(sandbox: Sandbox, folder: Path) -> int:
    """Run a process over all cases; how it ended."""
    surroundings = os.environ | {
        "ONESHOT_WALLET_PRIVATE_KEY": sandbox.private_key,
        "ONESHOT_BASE_URL": sandbox.base_url,
        "LANGSMITH_TRACING": "false",
        "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}",
    }
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-W", "error::pytest.PytestWarning", str(HERE / "approving.py"), folder],
        env=surroundings,
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode


def test_nothing_is_paid_while_the_question_is_open(lives: Lives) -> None:
    """Every case was asked about, with its price, and nothing was paid or rung meanwhile."""
    prices = [
        q["value"]["quote"]["total"] for case in lives.asked.values() for q in case["questions"]
    ]
    assert (prices, lives.paid_while_asked) == ([str(PRICE)] * 10, 0)


@pytest.mark.parametrize(
    ("case", "number"), [("approve", "+14155550121"), ("approve_async", "+14155550122")]
)
def test_approved_after_the_restart_is_paid_once_at_the_price_shown(
    lives: Lives, case: str, number: str
) -> None:
    """The yes of a second process pays the quote that the first one showed."""
    assert lives.answer(case, number)[2] == "completed"
    assert lives.paid(number) == [PRICE]


def test_edited_to_a_cheaper_call_is_made_without_a_second_question(lives: Lives) -> None:
    """The person's own version is quoted anew and rings the number that they gave."""
    assert lives.answer("edit_cheaper", "+14155550123")[2] == "completed"
    assert (lives.paid("+14155550123"), lives.paid("+14155550133")) == ([], [Decimal("0.70")])


def test_edited_to_a_dearer_call_is_asked_about_again(lives: Lives) -> None:
    """The person's own version costs more than they saw: they are asked, and nothing is paid."""
    [question] = lives.answered["edit_dearer"]["questions"]
    assert question["value"]["quote"]["total"] == "3.15"
    assert "You agreed to $1.75; it costs more now." in question["value"]["description"]
    assert lives.paid("+14155550124") == []


def test_rejected_after_the_restart_pays_nothing_and_says_not_to_retry(lives: Lives) -> None:
    """The model reads the no, its reason, and that it must not try again."""
    _, content, status = lives.answer("reject", "+14155550125")
    assert (status, lives.paid("+14155550125")) == ("rejected", [])
    assert "must not be retried" in content
    assert "Not today." in content


def test_answered_in_the_calls_place_pays_nothing_and_passes_the_words_on(lives: Lives) -> None:
    """The person's words reach the model, and no phone rings."""
    _, content, _ = lives.answer("respond", "+14155550126")
    assert "I have booked it online." in content
    assert lives.paid("+14155550126") == []


@pytest.mark.parametrize(
    ("case", "yes", "no"),
    [
        ("parallel", "+14155550127", "+14155550128"),
        ("parallel_async", "+14155550130", "+14155550129"),
    ],
)
def test_of_two_parallel_calls_only_the_approved_one_is_made(
    lives: Lives, case: str, yes: str, no: str
) -> None:
    """Each call of one message has a question of its own, and an answer of its own."""
    assert len(lives.asked[case]["questions"]) == 2
    assert (lives.answer(case, yes)[2], lives.paid(yes)) == ("completed", [PRICE])
    assert (lives.answer(case, no)[2], lives.paid(no)) == ("rejected", [])
