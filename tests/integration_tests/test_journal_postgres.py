"""The journal's promises on a real PostgreSQL, and what only a server can do to a journal."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from full import FULL
from sqlalchemy.engine import URL, make_url

from langchain_oneshot_voice.engine import ENGINE
from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    Claim,
    JournalUnavailableError,
)
from langchain_oneshot_voice.journal.schema import journal_meta, metadata

sys.path.insert(0, str(Path(__file__).parents[1] / "unit_tests"))

from postgres import new_database, postgres_server, run_sql
from test_journal import *  # noqa: F403 - the same facts, on this database
from test_journal import claim, known, new, quoted, sign
from test_journal_forgetting import *  # noqa: F403 - likewise
from test_journal_guards import *  # noqa: F403 - likewise
from test_journal_questions import *  # noqa: F403 - likewise
from test_journal_retention import *  # noqa: F403 - likewise
from test_journal_workers import *  # noqa: F403 - likewise
from test_journal_writing import *  # noqa: F403 - likewise

__all__ = ["postgres_server"]


def with_one_case(fact: Any) -> Any:
    """Copy a test, with the first of its cases only."""
    copy: Any = FunctionType(fact.__code__, fact.__globals__, fact.__name__, fact.__defaults__)
    copy.__kwdefaults__, copy.__annotations__ = fact.__kwdefaults__, fact.__annotations__
    copy.__doc__ = fact.__doc__
    copy.pytestmark = [
        pytest.mark.parametrize(mark.args[0], list(mark.args[1])[:1]).mark
        if mark.name == "parametrize"
        else mark
        for mark in fact.pytestmark
    ]
    return copy


if not FULL:  # all cases are tried in memory: the SQL is the same
    for name, fact in list(globals().items()):
        if name.startswith("test_") and hasattr(fact, "pytestmark"):
            globals()[name] = with_one_case(fact)

DROP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)

WAITING = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


TABLES = [table.name for table in reversed(metadata.sorted_tables) if table is not journal_meta]
EMPTY = ";".join([DROP, *map("DELETE FROM {}".format, TABLES)])


@pytest.fixture(scope="module")
def journal_database(postgres_server: URL) -> str:
    """Where the journal of all tests is: its tables are made once."""
    url = new_database(postgres_server).render_as_string(hide_password=False)
    journal = CallJournal(url)
    ENGINE.call(lambda: journal.read("make the tables"))
    ENGINE.call(journal.aclose)
    return url


@pytest.fixture
def journal_url(journal_database: str) -> str:
    """Where the empty journal of a test is: in place of the one in memory."""
    run_sql(journal_database, EMPTY)
    return journal_database


async def test_a_dropped_connection_is_opened_again(journal: CallJournal, journal_url: str) -> None:
    """A write after the server closed the connection succeeds, and is written once."""
    await quoted(journal, new("k"))
    run_sql(journal_url, DROP)
    await sign(journal, "k")
    assert (await known(journal, "k")).state == "signed"


async def test_a_connection_dropped_within_a_batch_loses_and_repeats_nothing(
    journal: CallJournal, journal_url: str
) -> None:
    """Nothing of the broken transaction stays, and all of it is done again."""
    await quoted(journal, new("k"))
    dropped = itertools.count()

    def drop(_connection: object, _now: float) -> None:
        if next(dropped) == 0:
            run_sql(journal_url, DROP)

    claims = [claim(journal, new(f"k{i}", f"+1415555012{i}")) for i in range(5)]
    first = asyncio.gather(*claims)
    second = asyncio.gather(journal._write(drop), sign(journal, "k"), journal.read("k"))
    assert {c.kind for c in await first} == {"mine"}
    assert isinstance((await second)[1], CallRecord)


@asynccontextmanager
async def proxy(
    url: str, folder: Path, cut: Callable[[bytes], Awaitable[str]]
) -> AsyncIterator[str]:
    """Stand between a client and the server, and drop the line as told.

    `cut` sees what the client sends and says `pass`, `before` (drop instead of sending it) or
    `after` (send it, wait for the answer, and drop instead of passing that on).
    """
    server_socket = f"{make_url(url).query['host']}/.s.PGSQL.5432"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_unix_connection(server_socket)
        muted = asyncio.Event()

        async def answer() -> None:
            while answered := await up_reader.read(65536):
                if muted.is_set():
                    return
                writer.write(answered)
                await writer.drain()

        answering = asyncio.create_task(answer())
        while asked := await reader.read(65536):
            what = await cut(asked)
            if what == "before":
                break
            if what == "after":
                muted.set()
            up_writer.write(asked)
            if what == "after":
                await answering
                break
        for end in (writer, up_writer):
            end.close()
        await asyncio.gather(answering, return_exceptions=True)

    listening = await asyncio.start_unix_server(serve, folder / ".s.PGSQL.5432")
    try:
        yield make_url(url).set(query={"host": str(folder)}).render_as_string(hide_password=False)
    finally:
        listening.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_looked_up(
    journal_url: str, tmp_path_factory: pytest.TempPathFactory, when: str
) -> None:
    """Whether the server got it or not, the write is there once and the caller is told so."""
    counted: list[bytes] = []
    armed = False

    async def cut(asked: bytes) -> str:
        nonlocal armed
        if armed and b"COMMIT" in asked:
            armed = False
            counted.append(asked)
            return when
        return "pass"

    async with proxy(journal_url, tmp_path_factory.mktemp("p"), cut) as through:
        journal = CallJournal(through)
        await quoted(journal, new("k"))
        armed = True
        # Were the step taken twice, the second would be refused: signed can't become signed.
        record = await sign(journal, "k")
        assert isinstance(record, CallRecord)
        assert (len(counted), record.state) == (1, "signed")
        assert await journal.read("k") == record
        await journal.aclose()


@pytest.mark.parametrize("asks", ["claim", "take"])
async def test_who_was_overtaken_holds_nothing(
    journal: CallJournal, journal_url: str, tmp_path_factory: pytest.TempPathFactory, asks: str
) -> None:
    """A claim that is repeated after a dropped connection may find that another one was faster."""
    await quoted(journal, new("k"))
    await journal.release("k", owner="w1")
    overtaking: list[asyncio.Task[Claim]] = []
    armed = False

    async def cut(asked: bytes) -> str:
        nonlocal armed
        if not armed or b"COMMIT" not in asked:
            return "pass"
        armed = False
        overtaking.append(asyncio.create_task(claim(journal, new("k"), "w2")))
        while not run_sql(journal_url, WAITING):  # noqa: ASYNC110 - the server does not tell
            await asyncio.sleep(0.01)
        return "before"

    async with proxy(journal_url, tmp_path_factory.mktemp("p"), cut) as through:
        slower = CallJournal(through)
        await slower.read("open it")
        armed = True
        if asks == "claim":
            assert (await claim(slower, new("k"))).kind == "held"
        else:
            assert await slower.take("k", owner="w1") is None
        assert (await overtaking[0]).kind == "mine"
        assert slower._worker.due_in() is None
        await slower.aclose()


async def test_a_lost_connection_keeps_a_lost_call_lost(
    journal: CallJournal, journal_url: str
) -> None:
    """What an operation answers is the same on the new connection."""
    await quoted(journal, new("k"), "w1")
    run_sql(journal_url, DROP)
    assert await sign(journal, "k", owner="w2") is None
    run_sql(journal_url, DROP)
    assert (await claim(journal, new("k"), "w2")).kind == "held"


async def test_the_servers_clock_decides(journal: CallJournal, journal_url: str) -> None:
    """Times come from the database, whatever the clock of the machine says."""
    before = run_sql(journal_url, "SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]
    record = (await claim(journal, new("k"))).record
    after = run_sql(journal_url, "SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]
    assert before <= record.created_at <= after


async def test_commits_wait_for_the_disk(journal_url: str) -> None:
    """A server whose habit is not to wait for the disk does wait for the journal."""
    lax = make_url(journal_url).update_query_dict({"options": "-csynchronous_commit=off"})
    journal = CallJournal(lax.render_as_string(hide_password=False))
    setting = await journal._read(
        lambda connection, _now: connection.exec_driver_sql("SHOW synchronous_commit").scalar()
    )
    assert setting == "on"
    await journal.aclose()


async def test_an_unreachable_server_is_named_without_its_password() -> None:
    """The error says what was tried and what to set, and holds no password."""
    url = "postgresql://worker:hunter2@/calls?host=/nowhere"
    journal = CallJournal(url)
    with pytest.raises(JournalUnavailableError, match="ONESHOT_VOICE_JOURNAL") as unreachable:
        await journal.read("k")
    assert "/nowhere" in str(unreachable.value)
    assert "hunter2" not in f"{unreachable.value} {journal!r} {journal.url_for_display}"
    await journal.aclose()
