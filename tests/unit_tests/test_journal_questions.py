"""Questions to people, on record before they are asked."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import test_journal
from test_journal import bring, claim, known, new, quoted, wait

from langchain_oneshot_voice.journal import (
    AskedQuestion,
    CallJournal,
    IllegalMoveError,
)

_journal_url = test_journal._journal_url
journal = test_journal.journal


def asked(call_key: str, number: int = 0, **changes: Any) -> AskedQuestion:
    """A question about a call."""
    given: dict[str, Any] = {
        "question_id": f"{number:032x}",
        "call_key": call_key,
        "number": number,
        "thread": "thread",
        "namespace": "",
        "request": {"objective": "Book a table"},
        "offer": {"body": {"total": "1.75"}, "header": "x"},
        "price": Decimal("1.75"),
    }
    return AskedQuestion(**given | changes)


async def test_a_question_is_on_record_before_it_is_asked(journal: CallJournal) -> None:
    """The call waits for its answer, and the question is found by its id and thread."""
    await quoted(journal, new("k"))
    record = await journal.ask(asked("k", namespace="a|b", note="again"), owner="w1")
    assert record is not None
    assert (record.state, record.owner) == ("asking", "w1")
    (question,) = await journal.questions("k")
    expected = asked("k", namespace="a|b", note="again", asked_at=record.updated_at)
    assert question == expected
    assert await journal.questions_of([question.question_id, "f" * 32], "thread") == (question,)
    assert await journal.questions_of([question.question_id], "another") == ()
    assert await journal.questions_of([], "thread") == ()


async def test_a_question_is_recorded_once(journal: CallJournal) -> None:
    """Asking again keeps the row that is there, with its answer."""
    await quoted(journal, new("k"))
    await journal.ask(asked("k"), owner="w1")
    await journal.answer(asked("k").question_id, {"type": "approve"})
    wait(10, journal)
    first = await journal.questions("k")
    assert await journal.ask(asked("k", price=Decimal(9)), owner="w1") is not None
    assert await journal.questions("k") == first


async def test_only_the_owner_asks_and_only_about_a_price(journal: CallJournal) -> None:
    """Otherwise nothing is written."""
    await claim(journal, new("k"))
    with pytest.raises(IllegalMoveError):
        await journal.ask(asked("k"), owner="w1")
    await journal.move("k", owner="w1", to="quoted")
    assert await journal.ask(asked("k"), owner="w2") is None
    assert await journal.questions("k") == ()
    assert (await known(journal, "k")).state == "quoted"


async def test_the_first_answer_stands(journal: CallJournal) -> None:
    """Of many answers one is recorded; the others are told so."""
    await quoted(journal, new("k"))
    await journal.ask(asked("k"), owner="w1")
    wait(5, journal)
    answers = [{"type": "approve", "by": i} for i in range(5)]
    taken = await asyncio.gather(
        *[journal.answer(asked("k").question_id, answer) for answer in answers]
    )
    assert sorted(taken) == [False] * 4 + [True]
    (question,) = await journal.questions("k")
    assert question.answer == answers[taken.index(True)]
    assert question.answered_at is not None
    assert question.answered_at - question.asked_at >= 5
    assert not await journal.answer("f" * 32, {"type": "approve"})


async def test_an_answer_is_recorded_though_nobody_waits(journal: CallJournal) -> None:
    """Cancelling the task that records it does not lose it."""
    await quoted(journal, new("k"))
    await journal.ask(asked("k"), owner="w1")
    answering = asyncio.create_task(journal.answer(asked("k").question_id, {"type": "reject"}))
    await asyncio.sleep(0)
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    (question,) = await journal.questions("k")
    assert question.answer == {"type": "reject"}


async def test_a_note_changes_how_a_question_is_asked_again(journal: CallJournal) -> None:
    """What is not given stays as it is."""
    await quoted(journal, new("k"))
    await journal.ask(asked("k"), owner="w1")
    question_id = asked("k").question_id
    await journal.note(question_id, bare_ok=True)
    await journal.note(question_id, note="say approve or reject")
    await journal.note(question_id)
    (question,) = await journal.questions("k")
    assert (question.bare_ok, question.note) == (True, "say approve or reject")
    await journal.note(question_id, bare_ok=False)
    assert [q.bare_ok for q in await journal.questions("k")] == [False]


async def test_questions_are_in_order(journal: CallJournal) -> None:
    """By number, whatever their ids are."""
    await quoted(journal, new("k"))
    for number in (2, 0, 1):
        await journal.ask(asked("k", number, question_id=f"{9 - number:032x}"), owner="w1")
    assert [q.number for q in await journal.questions("k")] == [0, 1, 2]


async def test_questions_follow_a_retired_call(journal: CallJournal) -> None:
    """The new call under the key has none of the old one's."""
    await bring(journal, new("k"), "asking")
    await journal.ask(asked("k"), owner="w1")
    await journal.move("k", owner="w1", to="declined", error_code="rejected")
    (question,) = await journal.questions("k")
    wait(10, journal)
    await claim(journal, new("k"), answers_for=5)
    assert await journal.questions("k") == ()
    (followed,) = await journal.questions_of([question.question_id], "thread")
    assert followed == replace(question, call_key=followed.call_key)
    assert followed.call_key.startswith("k~")


def test_a_question_does_not_show_what_is_said() -> None:
    """A repr holds no request, offer or answer that a log should not have."""
    shown = repr(asked("k", answer={"message": "secret"}, note="secret"))
    assert not any(word in shown for word in ("secret", "Book a table", "total"))
