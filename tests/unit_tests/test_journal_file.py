"""A journal's file that is taken away, replaced, locked or filled while the journal is open."""

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from test_journal import ALICE, BOB, bring, claim, known, new, quoted, sign, step

from langchain_oneshot_voice.journal import (
    CallJournal,
    CallRecord,
    Claim,
    JournalUnavailableError,
    store,
)

sys.path.append(str(Path(__file__).parents[1] / "integration_tests"))

from chaos.workers import Workers, workers

__all__ = ["Workers", "workers"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal of a test lives."""
    return tmp_path / "calls.sqlite"


@pytest.fixture(name="anybodys_folder")
def _anybodys_folder() -> Iterator[Path]:
    """A folder that every user may look into: those of pytest are their owner's."""
    folder = Path(tempfile.mkdtemp(prefix="journal"))
    folder.chmod(0o755)
    yield folder
    for inside in folder.rglob("*"):
        if inside.is_dir():
            inside.chmod(0o700)
    shutil.rmtree(folder)


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[CallJournal]:
    """A journal with one call that has a price."""
    opened = CallJournal(path)
    await quoted(opened, new("k"))
    yield opened
    await opened.aclose()


def in_another_process(workers: Workers, program: str, path: Path) -> str:
    """Run a program on a journal, `journal`, in a process of its own; return what it printed."""
    lines = "\n".join(f"    {line}" for line in program.splitlines())
    source = (
        "import asyncio, sys\nfrom langchain_oneshot_voice.journal import CallJournal\n"
        f"async def main():\n    journal = CallJournal(sys.argv[1])\n{lines}\n"
        "    await journal.aclose()\nasyncio.run(main())\n"
    )
    ran = workers.run(source, path)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def delete(path: Path) -> None:
    """Delete the file alone."""
    path.unlink()


def delete_all(path: Path) -> None:
    """Delete the file and what is beside it, as `rm calls*` does."""
    for file in path.parent.glob("*.sqlite*"):
        file.unlink()


def move(path: Path) -> None:
    """Move it to another name."""
    path.rename(path.with_name("old"))


def move_folder(path: Path) -> None:
    """Move the folder that it is in."""
    path.parent.rename(path.parent.with_name(f"old {path.parent.name}"))


def replace(path: Path) -> None:
    """Put a copy in its place, as a restored backup is."""
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.rename(path)


def delete_log(path: Path) -> None:
    """Delete the file that has the latest commits."""
    path.with_name(f"{path.name}-wal").unlink()


def delete_locks(path: Path) -> None:
    """Delete the file by which processes take turns."""
    path.with_name(f"{path.name}-shm").unlink()


DEEDS: dict[Callable[[Path], None], str] = {
    delete: "calls.sqlite was deleted or moved",
    delete_all: "calls.sqlite was deleted or moved",
    move: "calls.sqlite was deleted or moved",
    move_folder: "calls.sqlite was deleted or moved",
    replace: "calls.sqlite was replaced by a different file",
    delete_log: "calls.sqlite-wal, a part of the call journal, was deleted",
    delete_locks: "calls.sqlite-shm, a part of the call journal, was deleted",
}


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_nothing_is_signed_on_a_record_that_nobody_will_find(
    journal: CallJournal, path: Path, deed: Callable[[Path], None]
) -> None:
    """Neither is anything else done, at any time; the error says what happened to which file."""
    deed(path)
    for _again in range(2):
        with pytest.raises(JournalUnavailableError, match=DEEDS[deed]) as lost:
            await sign(journal, "k")
        assert not lost.value.maybe_recorded
        with pytest.raises(JournalUnavailableError, match=DEEDS[deed]):
            await journal.read("k")
    assert await asyncio.to_thread(path.exists) is (deed in (replace, delete_log, delete_locks))


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
async def test_a_file_that_goes_while_something_is_written_is_noticed_before_the_answer(
    journal: CallJournal, path: Path, deed: Callable[[Path], None]
) -> None:
    """What was signed may be on record, for whoever puts the file back: the error says so."""

    def sign_and_lose(connection: Connection, _now: float) -> None:
        connection.exec_driver_sql("UPDATE calls SET state = 'signed'")
        deed(path)

    with pytest.raises(JournalUnavailableError, match=DEEDS[deed]) as lost:
        await journal._write(sign_and_lose)
    assert lost.value.maybe_recorded


async def test_a_lost_file_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not with each heartbeat for as long as the process runs."""
    journal = CallJournal(path, heartbeat=0.01)
    await bring(journal, new("k"), "signed")
    delete(path)
    async with asyncio.timeout(20):
        tried = set[float]()
        while len(tried) < 5:
            tried.add(journal._worker._last_attempt)
            await asyncio.sleep(0.005)
    assert caplog.text.count("the heartbeat was not written") == 1
    await journal.aclose()


async def test_the_same_file_can_be_put_back(
    workers: Workers, journal: CallJournal, path: Path
) -> None:
    """The journal goes on where it was, without a restart."""
    move(path)
    with pytest.raises(JournalUnavailableError):
        await sign(journal, "k")
    path.with_name("old").rename(path)
    assert isinstance(await sign(journal, "k"), CallRecord)
    assert in_another_process(workers, "print((await journal.read('k')).state)", path) == "signed"


async def test_another_file_is_refused_by_a_connection_that_is_made_anew(
    workers: Workers, journal: CallJournal, path: Path
) -> None:
    """A process that has used one file uses no other, however often it connects."""
    delete_all(path)
    await asyncio.to_thread(
        in_another_process, workers, "await journal.suppress(['+1'], 'x')", path
    )
    journal._writer._disconnect()
    for _again in range(2):
        with pytest.raises(JournalUnavailableError, match="was replaced by a different file"):
            await claim(journal, new("k"))


async def test_a_file_that_goes_while_it_is_opened_is_noticed(path: Path) -> None:
    """Before anything is written to it; nothing was signed there, so another one can be used."""
    journal = CallJournal(path)
    event.listen(journal._store.engine, "commit", lambda _: delete_all(path), once=True)
    with pytest.raises(JournalUnavailableError, match="deleted or moved"):
        await claim(journal, new("k"))
    assert (await claim(journal, new("k"))).kind == "mine"
    await journal.aclose()


async def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    """It is the path that the next process opens, not the file that this one has open."""
    link, first, second = (tmp_path / name for name in ("link", "first", "second"))
    link.symlink_to(first)
    journal = CallJournal(link)
    await quoted(journal, new("k"))
    assert oct(first.stat().st_mode & 0o777) == "0o600"
    second.write_bytes(b"")
    link.unlink()
    link.symlink_to(second)
    with pytest.raises(JournalUnavailableError, match="link was replaced"):
        await sign(journal, "k")
    await journal.aclose()


async def test_what_is_in_a_deleted_log_is_saved_by_a_clean_stop(
    workers: Workers, path: Path
) -> None:
    """As the error promises: the last commits are in the file again."""
    journal = CallJournal(path)
    await bring(journal, new("k"), "signed")
    delete_log(path)
    with pytest.raises(JournalUnavailableError, match="saves it when it stops"):
        await step(journal, "k", "placed")
    await journal.aclose()
    assert in_another_process(workers, "print((await journal.read('k')).state)", path) == "signed"


async def test_a_second_journal_does_not_drop_the_locks_of_the_first(
    workers: Workers, path: Path
) -> None:
    """By POSIX, closing any descriptor of a file drops all locks that the process has on it.

    Another process that closes would then take itself for the last one, and delete the log.
    """
    first, second = CallJournal(path), CallJournal(path)
    await first.read("k")
    await second.read("k")
    await asyncio.to_thread(
        in_another_process, workers, "await journal.suppress(['+1'], 'x')", path
    )
    await first.suppress([ALICE], "asked")
    listed = "print(*(entry.number for entry in await journal.suppressions()))"
    assert ALICE in await asyncio.to_thread(in_another_process, workers, listed, path)
    await first.aclose()
    await second.aclose()


READ_ONLY = """
import asyncio, os, sys
from langchain_oneshot_voice.journal import CallJournal, JournalUnavailableError
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
place, mode, back = sys.argv[2], int(sys.argv[3], 8), int(sys.argv[4], 8)

async def main():
    journal = CallJournal(sys.argv[1])
    await journal.suppress(["+14155550101"], "before")
    os.chmod(place, mode)
    try:
        await journal.suppress(["+14155550102"], "meanwhile")
    except JournalUnavailableError as error:
        print(error)
    print(len(await journal.suppressions()))
    os.chmod(place, back)
    await journal.suppress(["+14155550103"], "after")
    print(len(await journal.suppressions()))
    await journal.aclose()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has other permissions")
@pytest.mark.parametrize(
    ("what", "mode", "back"), [("file", "400", "600"), ("folder", "500", "700")]
)
def test_a_file_or_folder_that_was_made_read_only_takes_nothing(
    workers: Workers, anybodys_folder: Path, what: str, mode: str, back: str
) -> None:
    """Though SQLite could still write to it. Reading goes on, and so does all when it is undone."""
    folder = anybodys_folder / "journal"
    folder.mkdir()
    if os.geteuid() == 0:  # who may write anything; the program is run as somebody else
        os.chown(folder, 65534, 65534)
    path = folder / "calls.sqlite"
    place = {"file": path, "folder": folder}[what]
    ran = workers.run(READ_ONLY, path, place, mode, back)
    assert ran.stderr == ""
    said, *counts = ran.stdout.splitlines()
    assert f"{place}" in said
    assert "was made read-only" in said
    assert counts == ["1", "2"]


# A disk that is full, and a file that is locked


def let_it_grow(journal: CallJournal, *, by: int | None) -> asyncio.Future[None]:
    """Let the database have so many pages more; `None` for no limit."""

    def limit(connection: Connection, _now: float) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        most = 2**30 if by is None else pages + by
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    return journal._read(limit)


async def test_a_full_disk_signs_nothing_and_loses_nothing(journal: CallJournal) -> None:
    """The error names the disk; when there is room again the same call is signed."""
    await let_it_grow(journal, by=0)
    big = new("big", BOB, request={"objective": "x" * 100_000})
    with pytest.raises(JournalUnavailableError, match=r"disk is full.*Make room") as full:
        await claim(journal, big)
    assert not full.value.maybe_recorded
    assert (await known(journal, "k")).state == "quoted"
    assert await journal.read("big") is None
    await let_it_grow(journal, by=None)
    assert (await claim(journal, big)).kind == "mine"


@pytest.mark.parametrize("first", [True, False])
async def test_a_full_disk_fails_only_who_needs_room(
    workers: Workers, journal: CallJournal, path: Path, *, first: bool
) -> None:
    """SQLite undoes the whole batch then: what is answered as recorded is recorded."""
    await let_it_grow(journal, by=0)
    big = claim(journal, new("big", BOB, request={"objective": "x" * 100_000}))
    both = (sign(journal, "k"), big) if first else (big, sign(journal, "k"))
    ends = await asyncio.gather(*both, return_exceptions=True)
    kinds = [CallRecord, JournalUnavailableError]
    assert [type(end) for end in ends] == (kinds if first else kinds[::-1])
    state = "print((await journal.read('k')).state)"
    assert await asyncio.to_thread(in_another_process, workers, state, path) == "signed"


async def test_a_file_that_is_locked_for_too_long_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is signed meanwhile; when the lock is gone, the same call is."""
    monkeypatch.setattr(store, "_BUSY_SECONDS", 0.1)
    journal = CallJournal(path)
    await quoted(journal, new("k"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailableError, match=r"kept it locked for 0\.1 seconds"):
            await sign(journal, "k")
        assert (await known(journal, "k")).state == "quoted"
    assert isinstance(await sign(journal, "k"), CallRecord)
    await journal.aclose()


async def test_a_transaction_that_the_database_ended_by_itself_is_not_taken_for_recorded(
    journal: CallJournal,
) -> None:
    """As it may end it when the disk fails; the neighbours are then recorded one by one."""

    def fail(connection: Connection, _now: float) -> None:
        connection.exec_driver_sql(
            "CREATE TEMP TRIGGER fail BEFORE DELETE ON calls"
            " BEGIN SELECT RAISE(ROLLBACK, 'the disk fails'); END"
        )
        connection.exec_driver_sql("DELETE FROM calls")

    ends = await asyncio.gather(
        sign(journal, "k"),
        journal._write(fail),
        claim(journal, new("later", BOB)),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [CallRecord, JournalUnavailableError, Claim]
    assert (await known(journal, "k")).state == "signed"
    assert (await known(journal, "later")).state == "claimed"
