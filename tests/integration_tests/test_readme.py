"""Every snippet of the README runs as it stands, twice, and what it claims is so.

The blocks run in order, in one environment: a sandbox, a journal on disk, and a chat model that is
served on this machine. Nothing here knows a block: a new one is run as well.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, tzinfo
from pathlib import Path
from typing import Any

import pytest
from full import FULL
from langchain.chat_models import init_chat_model
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from placing import OBJECTIVE, tool_call
from served_model import ServedModel, served_model
from snippets import Block, Shown, read_blocks, run
from typer.testing import CliRunner

from langchain_oneshot_voice import Sandbox
from langchain_oneshot_voice.commands import app
from langchain_oneshot_voice.policy import call_policy

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCKS = read_blocks(README)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

Command = Callable[[list[str]], "Done"]

_FULL_NUMBER = re.compile(r"\+\d{9,}")
_INLINE_COMMAND = re.compile(r"`oneshot-voice ([\w-]+)[^`]*`")


@dataclass(frozen=True)
class Done:
    """A command of the README's, and how it ended."""

    words: str
    status: int
    said: str


@dataclass
class Round:
    """What one run of the whole README came to."""

    shown: list[Shown] = field(default_factory=list)
    commands: list[Done] = field(default_factory=list)
    rung: list[tuple[str, str]] = field(default_factory=list)
    """Who was called, and what for."""


class _Noon(datetime):
    """A clock that says noon, or an hour before, in California: within all calling hours."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.combine(datetime.now(tz).date(), time(19), UTC)


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the README, and what they have."""

    sandbox: Sandbox
    model: ServedModel
    checkpointer: InMemorySaver = field(default_factory=InMemorySaver)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader with a wallet, a journal and a model, set up by the environment."""
    folder = tmp_path_factory.mktemp("reader")
    with (
        pytest.MonkeyPatch.context() as patch,
        Sandbox(call_seconds=0.05) as sandbox,
        served_model() as model,
    ):
        patch.chdir(folder)
        patch.setattr(call_policy, "datetime", _Noon)
        for variable, value in {
            "ONESHOT_BASE_URL": sandbox.base_url,
            "ONESHOT_WALLET_PRIVATE_KEY": sandbox.private_key,
            "ONESHOT_VOICE_JOURNAL": str(folder / "calls.sqlite"),
            "OPENAI_API_KEY": "none is needed",
            "OPENAI_BASE_URL": model.base_url,
            "LANGSMITH_TRACING": "false",
            "COLUMNS": "140",
        }.items():
            patch.setenv(variable, value)
        yield Reader(sandbox, model)


@pytest.fixture(scope="module")
def rounds(reader: Reader) -> tuple[Round, Round]:
    """The README's blocks, run in order, and once more by somebody who wants something else."""
    return (
        _round(reader, "for 2 tonight, name Rivera", _first_in_a_process()),
        _round(reader, "for 4 tomorrow, name Okafor", _in_this_process),
    )


def _round(reader: Reader, meant: str, command: Command) -> Round:
    """Run every block once; `meant` are the user's words where the README leaves them out."""
    reader.model.meant = meant
    asked = tool_call("call-3", objective=OBJECTIVE, target_number="+14155550137")
    names: dict[str, Any] = {
        "__name__": "readme",
        "checkpointer": reader.checkpointer,
        "model": init_chat_model("openai:gpt-5-mini"),
        "state": {"messages": [AIMessage("", id="message-1", tool_calls=[asked])]},
        "tool_call": tool_call("call-2", objective=OBJECTIVE, target_number="+14155550136"),
    }
    came, rang = Round(), len(reader.sandbox.rings)
    for block in BLOCKS:
        match block.language:
            case "python":
                came.shown.append(run(block, names))
            case "bash":
                came.commands += _run_commands(block, command)
            case other:
                pytest.fail(f"{block}: nobody knows how to run {other or 'a plain block'}")
    objectives = {call.request_id: call.body["objective"] for call in reader.sandbox.calls}
    came.rung = [(r.number, objectives[r.request_id]) for r in reader.sandbox.rings[rang:]]
    return came


def _run_commands(block: Block, command: Command) -> list[Done]:
    """Run each line that is ours, and what its comment says can follow; look at the others."""
    done: list[Done] = []
    for line in block.code.splitlines():
        written, _, comment = line.partition(" #")
        match shlex.split(written):
            case []:
                continue
            case ["oneshot-voice", *_]:
                following = re.findall(r"`(oneshot-voice [^`]+)`", comment)
                done += [command(shlex.split(words)[1:]) for words in (written, *following)]
            case ["pip", "install", what]:
                _installs(what)
            case ["make", *targets]:
                assert [t for t in targets if f"\n{t}:" not in MAKEFILE] == [], line
            case [".venv/bin/python", file]:
                assert (ROOT / file).is_file(), line
            case _:
                pytest.fail(f"{block}: nobody knows how to run {line!r}")
    return done


def _in_a_process(words: list[str]) -> Done:
    """Run `oneshot-voice` as a shell does."""
    done = subprocess.run(  # noqa: S603 - the README's own words
        [sys.executable, "-m", "langchain_oneshot_voice.cli", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return Done(shlex.join(words), done.returncode, done.stdout)


def _first_in_a_process() -> Command:
    """Start one process, and a process for each command only where there is time for it."""
    started: list[list[str]] = []

    def command(words: list[str]) -> Done:
        started.append(words)
        return (_in_a_process if FULL or len(started) == 1 else _in_this_process)(words)

    return command


def _in_this_process(words: list[str]) -> Done:
    """The same, quicker."""
    done = CliRunner().invoke(app, words)
    return Done(shlex.join(words), done.exit_code, done.output)


def _installs(what: str) -> None:
    """What is installed is this package, with extras that it has."""
    requirement = re.fullmatch(r"([\w-]+)(?:\[([\w,]+)\])?", what)
    assert requirement, what
    assert requirement[1] == PROJECT["name"]
    extras = requirement[2].split(",") if requirement[2] else []
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_readme_has_snippets() -> None:
    """None would be found if its blocks were written in another way."""
    languages = Counter(block.language for block in BLOCKS)
    assert languages["python"] > 5
    assert languages["bash"] > 2


@pytest.mark.parametrize("again", [0, 1], ids=["first", "again"])
def test_values_that_the_readme_shows_are_those_that_come_out(
    rounds: tuple[Round, Round], again: int
) -> None:
    """A comment that shows a value shows the right one."""
    assert [claim for shown in rounds[again].shown for claim in shown.false_claims()] == []


def test_every_value_that_the_readme_shows_was_seen(rounds: tuple[Round, Round]) -> None:
    """The first time; a call that is answered by an earlier one tells no steps."""
    assert [claim for shown in rounds[0].shown for claim in shown.unseen_claims()] == []


@pytest.mark.parametrize("again", [0, 1], ids=["first", "again"])
def test_commands_of_the_readme_work(rounds: tuple[Round, Round], again: int) -> None:
    """Each ends well, and shows no number in full."""
    commands = rounds[again].commands
    assert len(commands) > 4
    assert [done for done in commands if done.status] == []
    assert [done for done in commands if _FULL_NUMBER.search(done.said)] == []


def test_readme_places_calls_and_pays_for_each(reader: Reader, rounds: tuple[Round, Round]) -> None:
    """The snippets do what they are there for."""
    assert len(rounds[0].rung) > 3
    paid = {payment.request_id for payment in reader.sandbox.payments}
    assert paid == {ring.request_id for ring in reader.sandbox.rings}


def test_nobody_is_rung_twice_for_the_same(rounds: tuple[Round, Round]) -> None:
    """Whoever runs it all again, calls nobody again."""
    first, second = rounds
    assert [times for times in Counter(first.rung + second.rung).values() if times > 1] == []


def test_stopped_calls_are_allowed_again(rounds: tuple[Round, Round]) -> None:
    """The README says how to stop all calls, and does not leave them stopped."""
    said = [done.said for done in rounds[0].commands if done.words == "resume"]
    assert said == ["Calls are allowed again.\n"]


def test_commands_in_the_text_exist() -> None:
    """What the text calls `oneshot-voice something` is a command."""
    known = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }
    named = set(_INLINE_COMMAND.findall(README.read_text(encoding="utf-8")))
    assert named
    assert named - known == set()


def test_program_of_the_readme_is_the_package_s() -> None:
    """What the commands above ran is what an installation calls `oneshot-voice`."""
    assert PROJECT["scripts"] == {"oneshot-voice": "langchain_oneshot_voice.cli:main"}


def _block(code: str) -> Block:
    return Block(README, "python", code, line=10)


@pytest.mark.parametrize(
    "code",
    [
        "1 + 1  # 3\n",
        "for n in [1, 2]:\n    print(n)  # 3\n",
        "{'a': 1, 'b': 2}  # {'a': 1, 'c': ...}\n",
        "'success'  # 'failure' | 'unknown'\n",
        "25  # 2\n",
        "2  # 25\n",
        "number = 2  # 2\n",
        "for n in []:\n    print(n)  # 3\n",
    ],
)
def test_false_claim_is_found(code: str) -> None:
    """A comment that shows another value, or of which nobody can tell, is reported."""
    shown = run(_block(code), {})
    [problem] = shown.false_claims() + shown.unseen_claims()
    assert re.match(r"README\.md:1[01] claims", problem)


@pytest.mark.parametrize(
    "code",
    [
        "1 + 1  # 2\n",
        "2  # 2, in words: two\n",
        "for n in [1, 2]:\n    print(n)  # 2\n",
        "{'a': 1, 'b': 2}  # {'a': ..., 'b': 2}\n",
        "'success'  # 'failure' | 'success'\n",
        "5  # what a person reads\n",
    ],
)
def test_true_claim_is_accepted(code: str) -> None:
    """A value, one of several, a part of one, or words for people."""
    shown = run(_block(code), {})
    assert shown.false_claims() + shown.unseen_claims() == []


def test_failure_in_a_snippet_shows_the_line_of_the_document() -> None:
    """A traceback leads to the README."""
    with pytest.raises(ZeroDivisionError) as raised:
        run(_block("one = 1\n1 / 0\n"), {})
    assert (raised.traceback[-1].path, raised.traceback[-1].lineno + 1) == (README, 11)
