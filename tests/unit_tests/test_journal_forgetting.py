"""What is left of a call that was forgotten."""

from decimal import Decimal

import pytest
import test_journal
from test_journal import ALICE, BOB, DAY, bring, claim, known, new, wait
from test_journal_questions import asked

from langchain_oneshot_voice.journal import CallJournal
from langchain_oneshot_voice.journal.schema import call_numbers

_journal_url = test_journal._journal_url
journal = test_journal.journal


async def test_forgetting_keeps_the_money_and_loses_the_words(journal: CallJournal) -> None:
    """Ended calls lose all but states, times, amounts and ids; unfinished ones lose nothing."""
    await bring(journal, new("k1"), "asking")
    await journal.ask(asked("k1"), owner="w1")
    await test_journal.sign(journal, "k1")
    placement = {"receipt_id": "receipt"}
    await journal.move(
        "k1", owner="w1", to="placed", request_id="request of k1", placement=placement
    )
    await journal.move("k1", owner="w1", to="done", job={"said": "hello"}, answered=True)
    await bring(journal, new("k2", BOB), "unknown")
    wait(100, journal)
    await bring(journal, new("k3"), "done")
    assert [await journal.forget(50), await journal.forget(50)] == [1, 0]
    gone = await known(journal, "k1")
    assert (gone.numbers, gone.request, gone.offer, gone.approval_id) == ((), {}, None, None)
    assert (gone.payment, gone.placement, gone.job) == (None, None, None)
    assert (gone.state, gone.reserved, gone.request_id) == (
        "done",
        Decimal("1.75"),
        "request of k1",
    )
    assert await journal.questions("k1") == ()
    assert await journal.spent(account="0xwallet", tenant="") == 3 * Decimal("1.75")
    assert (await known(journal, "k2")).payment == "bytes of k2"
    assert (await known(journal, "k3")).job == {"status": "completed"}


@pytest.mark.parametrize("state", ["done", "declined", "edited", "refused"])
async def test_every_end_is_forgotten(journal: CallJournal, state: str) -> None:
    """A declined or edited call as well; and it still answers its key."""
    await bring(journal, new("k"), state)
    wait(10, journal)
    assert await journal.forget(5) == 1
    gone = await known(journal, "k")
    assert (gone.state, gone.numbers, gone.request, gone.offer) == (state, (), {}, None)
    kind = "mine" if state == "refused" else "finished"
    assert (await claim(journal, new("k"))).kind == kind


async def numbers_on_record(journal: CallJournal) -> list[str]:
    """The numbers that calls are known to ring."""
    return await journal._read(
        lambda connection, _now: [row.number for row in connection.execute(call_numbers.select())]
    )


async def test_after_a_day_nothing_of_a_forgotten_number_is_left(journal: CallJournal) -> None:
    """The hash that held the daily limit goes with the next forgetting."""
    await bring(journal, new("k"), "done")
    await bring(journal, new("r", BOB), "refused")
    wait(1, journal)
    await journal.forget(0)
    assert [number[0] for number in await numbers_on_record(journal)] == ["#"]
    assert (await known(journal, "k")).fingerprint != ""
    wait(DAY, journal)
    await journal.forget(0)
    assert await numbers_on_record(journal) == []
    assert (await known(journal, "k")).fingerprint == ""


async def test_a_new_attempt_after_forgetting_is_whole(journal: CallJournal) -> None:
    """A refused call that was forgotten starts over, and its words are forgotten again later."""
    await bring(journal, new("k"), "refused")
    wait(10, journal)
    await journal.forget(5)
    await claim(journal, new("k"))
    assert await numbers_on_record(journal) == [ALICE]
    await journal.move("k", owner="w1", to="refused", error_code="no")
    wait(10, journal)
    assert await journal.forget(5) == 1
    assert (await known(journal, "k")).numbers == ()
