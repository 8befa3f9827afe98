"""Who has asked not to be called is not called, by anybody who shares the journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chaos.callers import caller_on, key, request
from chaos.ledger import times_rung
from conftest import MakeCaller, MakeTool
from placing import NUMBER, arguments, at_any_hour, signatures, tool_call
from typer.testing import CliRunner, Result

from langchain_oneshot_voice import (
    CallJournal,
    CallRefusedError,
    InvalidCallError,
    Sandbox,
    VoiceCallInput,
)
from langchain_oneshot_voice.approval import Approve
from langchain_oneshot_voice.commands import app
from langchain_oneshot_voice.sandbox import CallScript

NEVER_AGAIN = "+14155550109"
"""Who picks up here asks never to be called again."""

ANOTHER = {"objective": "Ask whether they deliver on Sundays."}


async def test_person_who_asks_on_the_phone_is_put_on_the_list(
    make_tool: MakeTool, journal: CallJournal
) -> None:
    """The call itself puts the number down, with the person's own words as the reason."""
    await make_tool().ainvoke(tool_call(**arguments(NEVER_AGAIN)))
    [listed] = await journal.suppressions()
    assert listed.number == NEVER_AGAIN
    assert "Take me off your list and never call this number again." in listed.reason


async def test_person_who_asked_is_not_called_for_any_tenant(
    make_tool: MakeTool, sandbox: Sandbox
) -> None:
    """A later call is refused before a price is asked for, whoever's and whatever for."""
    await make_tool().ainvoke(tool_call(**arguments(NEVER_AGAIN)))
    before = len(sandbox.requests)
    for tenant in ("", "another"):
        tool = make_tool(policy=at_any_hour(tenant=tenant), handle_tool_error=False)
        with pytest.raises(CallRefusedError, match="has asked not to be called again") as no:
            await tool.ainvoke(tool_call(f"call-{tenant}", **arguments(NEVER_AGAIN, **ANOTHER)))
        assert (no.value.code, no.value.charged) == ("number_suppressed", "no")
    assert len(sandbox.requests) == before


async def test_wish_in_another_language_is_heard(
    make_tool: MakeTool, sandbox: Sandbox, journal: CallJournal
) -> None:
    """The phrases are not English only."""
    sandbox.expect(NUMBER, CallScript(transcript="User: Por favor, no me llame más."))
    await make_tool().ainvoke(tool_call())
    assert [s.number for s in await journal.suppressions()] == [NUMBER]


async def test_what_our_own_caller_says_lists_nobody(
    make_tool: MakeTool, sandbox: Sandbox, journal: CallJournal
) -> None:
    """Only the other side's words count."""
    sandbox.expect(
        NUMBER, CallScript(transcript="AI: Shall I never call this number again?\nUser: No, do!")
    )
    await make_tool().ainvoke(tool_call())
    assert await journal.suppressions() == []


def test_list_that_can_t_be_written_costs_no_outcome_and_is_written_later(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The end is on record with what was heard; the next `recover` puts the number down."""
    file = tmp_path / "calls.sqlite"
    caller = caller_on(sandbox, file)
    assert caller.recover() == []  # the file is there

    def change(statement: str) -> None:
        with closing(sqlite3.connect(file)) as database, database:
            database.execute(statement)

    change(
        "CREATE TRIGGER full BEFORE INSERT ON suppressions"
        " BEGIN SELECT RAISE(ABORT, 'no room'); END"
    )
    asked, same = request(NEVER_AGAIN), key()
    result = caller.call(asked, call_key=same)
    again = caller.call(asked, call_key=same)
    assert (result.call_status, again.call_status, again.reused) == ("completed", "completed", True)
    change("DROP TRIGGER full")
    assert caller.recover() == []
    with pytest.raises(CallRefusedError, match="has asked not to be called again"):
        caller.call(request(NEVER_AGAIN, **ANOTHER))
    assert times_rung(sandbox) == 1


def test_number_listed_while_a_person_decides_is_not_called(
    make_tool: MakeTool, make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """Between the quote and the signature somebody opts out: nothing is signed."""
    caller = make_caller()

    def list_and_approve(request: VoiceCallInput, _: Any) -> Approve:
        caller.suppress(request.numbers)
        return Approve()

    message = make_tool(approval=list_and_approve).invoke(tool_call())
    assert (message.status, signatures(sandbox)) == ("error", [])
    assert "has asked not to be called again" in message.content


def test_suppressed_number_spoils_a_conference(
    make_tool: MakeTool, make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """One of several is on the list: nobody is called."""
    make_caller().suppress("+14155550122")
    message = make_tool().invoke(tool_call(**arguments(["+14155550121", "+14155550122"])))
    assert (message.status, sandbox.requests) == ("error", ())


@pytest.mark.parametrize("spelled", [NUMBER, "+1 (415) 555-0100", ["+1.415.555.0100"]], ids=str)
def test_suppressed_in_any_spelling(
    make_caller: MakeCaller, make_tool: MakeTool, spelled: str | list[str]
) -> None:
    """However the number is written down, a call to it is refused."""
    make_caller().suppress(spelled, reason="asked by mail")
    assert make_tool().invoke(tool_call()).status == "error"


def test_national_number_is_listed_by_the_policys_region(
    make_caller: MakeCaller, make_tool: MakeTool
) -> None:
    """Written as dialled at home, it is the same number."""
    make_caller(policy=at_any_hour(default_region="US")).suppress("(415) 555-0100")
    assert make_tool().invoke(tool_call()).status == "error"


async def test_unsuppressed_number_may_be_called_again(
    make_caller: MakeCaller, make_tool: MakeTool
) -> None:
    """Taken off the list, it is called; what was not on it is not counted."""
    caller = make_caller()
    await caller.asuppress([NUMBER, "+14155550122"])
    assert await caller.aunsuppress([NUMBER, "+14155550133"]) == 1
    assert caller.unsuppress("+14155550122") == 1
    assert (await make_tool().ainvoke(tool_call())).artifact.call_status == "completed"


async def test_all_or_none_are_listed(make_caller: MakeCaller, journal: CallJournal) -> None:
    """A number that can't be read is an error, and the others are not listed in silence."""
    with pytest.raises(InvalidCallError, match="The list was not changed"):
        await make_caller().asuppress([NUMBER, "call me maybe"])
    assert await journal.suppressions() == []


def command(journal: Path, *options: str) -> Result:
    """`oneshot-voice suppress`, as in a terminal."""
    return CliRunner().invoke(app, ["suppress", *options, "--journal", str(journal)])


async def test_command_keeps_the_list(tmp_path: Path) -> None:
    """It lists a number with its reason, shows it masked, and takes it off again."""
    file = tmp_path / "calls.sqlite"
    added = command(file, "+1 415 555 0100", "--reason", "asked by mail")
    shown = command(file, "--list")
    assert "+14*******00" in added.stdout
    assert "asked by mail" in shown.stdout
    assert NUMBER not in added.stdout + shown.stdout
    assert "May be called again" in command(file, "--remove", NUMBER).stdout
    journal = CallJournal(file)
    assert await journal.suppressions() == []
    await journal.aclose()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "Give the numbers"),
        (("--list", NUMBER), "Give the numbers"),
        (("--remove", NUMBER), "Not on the list: +14*******00."),
        (("911",), "The list was not changed"),
    ],
    ids=str,
)
def test_command_that_changed_nothing_says_so(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    """A mistake ends with 2, and words that help."""
    done = command(tmp_path / "calls.sqlite", *options)
    assert (done.exit_code, words in " ".join(done.stderr.split())) == (2, True)
