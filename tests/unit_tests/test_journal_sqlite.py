"""What a journal does with its file, and with the place that it is given."""

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, select, text
from sqlalchemy.pool import NullPool
from test_journal import bring, claim, known, new

from langchain_oneshot_voice.journal import CallJournal, JournalUnavailableError
from langchain_oneshot_voice.journal.addresses import ENVIRONMENT
from langchain_oneshot_voice.journal.schema import workers


def mode(path: Path) -> str:
    """The permissions of a file."""
    return oct(stat.S_IMODE(path.stat().st_mode))


def names(folder: Path) -> list[str]:
    """The files of a folder."""
    return sorted(file.name for file in folder.iterdir())


async def opened(where: str | Path | None) -> CallJournal:
    """A journal that has been used once."""
    journal = CallJournal(where)
    await journal.read("k")
    return journal


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """The folder has mode 0700; the file and the logs beside it have 0600."""
    path = tmp_path / "new" / "calls.sqlite"
    journal = await opened(path)
    assert mode(path.parent) == "0o700"
    beside = {file.name: mode(file) for file in path.parent.iterdir()}
    assert beside == dict.fromkeys(
        ("calls.sqlite", "calls.sqlite-wal", "calls.sqlite-shm"), "0o600"
    )
    await journal.aclose()


async def test_a_commit_is_on_disk(tmp_path: Path) -> None:
    """The file is write-ahead logged and synced in full at each commit."""
    journal = CallJournal(tmp_path / "calls.sqlite")

    def settings(connection: Connection, _now: float) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    full = 2
    assert await journal._read(settings) == ["wal", full, 1, 1]
    await journal.aclose()


async def test_the_environment_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the variable decides, and without that the user's data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    await (await opened(None)).aclose()
    assert [file.name for file in (tmp_path / "data").rglob("*.sqlite")] == ["calls.sqlite"]
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "mine.sqlite"))
    await (await opened(None)).aclose()
    assert (tmp_path / "mine.sqlite").exists()


async def test_memory_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`memory` opts out of files altogether."""
    monkeypatch.chdir(tmp_path)
    await (await opened("memory")).aclose()
    assert names(tmp_path) == []


async def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    """The error says which file, and every way out."""
    (tmp_path / "file").touch()
    journal = CallJournal(tmp_path / "file" / "calls.sqlite")
    for _again in range(2):
        with pytest.raises(JournalUnavailableError, match=r"calls\.sqlite") as refused:
            await journal.read("k")
        assert all(way in str(refused.value) for way in (ENVIRONMENT, "journal argument", "memory"))
    await journal.aclose()


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Something else at the path is an error and is left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to be seen as none" * 10)
    journal = CallJournal(path)
    with pytest.raises(JournalUnavailableError, match=r"notes\.txt"):
        await journal.read("k")
    assert path.read_text().startswith("not a database")
    await journal.aclose()


async def test_tables_of_someone_else_are_left_alone(tmp_path: Path) -> None:
    """A file that is another program's is refused, not adopted, and is left as it is."""
    path = tmp_path / "app.sqlite"
    await failing(path, "CREATE TABLE bookmarks (id INTEGER)")
    before = await asyncio.to_thread(path.read_bytes)
    journal = CallJournal(path)
    with pytest.raises(JournalUnavailableError, match=r"app\.sqlite is the database of another"):
        await journal.read("k")
    await journal.aclose()
    assert await asyncio.to_thread(path.read_bytes) == before


@pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "postgresql+asyncpg://u:hunter2@h/d"])
def test_other_databases_are_refused(url: str) -> None:
    """At once, saying which two there are, and without the password."""
    with pytest.raises(JournalUnavailableError, match="SQLite or in PostgreSQL") as refused:
        CallJournal(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/d",
        "postgres://h/d?user=u&password=hunter2",
        "postgresql://u:hunter2",
    ],
)
def test_a_password_is_not_shown(url: str) -> None:
    """Wherever it stands in the URL."""
    try:
        shown = CallJournal(url)
    except JournalUnavailableError as unreadable:
        assert "hunter2" not in str(unreadable)  # noqa: PT017 - either way is fine if it is kept
    else:
        assert "hunter2" not in f"{shown!r} {shown.url_for_display}"


async def failing(path: Path, statement: str) -> None:
    """Change the tables behind the journal's back."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(statement))


FAIL = "CREATE TRIGGER fail BEFORE UPDATE ON {} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"


async def test_a_release_that_was_not_written_is_repeated(tmp_path: Path) -> None:
    """The call is free within this process at once, and for others with a later heartbeat."""
    path = tmp_path / "calls.sqlite"
    journal = CallJournal(path, heartbeat=0.02, lease=1000)
    other = CallJournal(path)
    await bring(journal, new("k"), "signed")
    await failing(path, FAIL.format("calls"))
    with pytest.raises(JournalUnavailableError):
        await journal.release("k", owner="w1")
    assert [call.call_key for call in await journal.unfinished()] == ["k"]
    assert await other.unfinished() == []
    await failing(path, "DROP TRIGGER fail")
    async with asyncio.timeout(20):
        while (await known(other, "k")).owner:  # noqa: ASYNC110 - the database knows, and does not tell
            await asyncio.sleep(0.01)
    assert journal._worker.due_in() is None
    assert (await claim(other, new("k"), "w2")).kind == "mine"
    await journal.aclose()
    await other.aclose()


async def test_a_claim_that_was_not_written_holds_nothing(tmp_path: Path) -> None:
    """A claim that failed is given back as well, as soon as the database works."""
    path = tmp_path / "calls.sqlite"
    # So short that a heartbeat is due whenever a call is claimed.
    journal = CallJournal(path, heartbeat=0.001)
    await bring(journal, new("k"), "signed")
    await journal.release("k", owner="w1")
    await failing(path, FAIL.format("workers"))
    with pytest.raises(JournalUnavailableError):
        await claim(journal, new("k"))
    await failing(path, "DROP TRIGGER fail")
    assert (await claim(journal, new("k"), "w2")).kind == "mine"
    await journal.release("k", owner="w2")
    assert journal._worker.due_in() is None
    await journal.aclose()


async def test_a_heartbeat_that_fails_is_reported_and_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread goes on; the run keeps its call until another process takes it."""
    path = tmp_path / "calls.sqlite"
    journal = CallJournal(path, heartbeat=0.02)
    await bring(journal, new("k"), "quoted")
    await failing(path, FAIL.format("workers"))

    def beats(connection: Connection, _now: float) -> float:
        return float(connection.execute(select(workers.c.beat_at)).scalar_one())

    async with asyncio.timeout(20):
        while "heartbeat was not written" not in caplog.text:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.01)
        last = await journal._read(beats)
        await failing(path, "DROP TRIGGER fail")
        while await journal._read(beats) == last:  # noqa: ASYNC110 - the database does not tell
            await asyncio.sleep(0.01)
    assert await journal.move("k", owner="w1", to="quoted") is not None
    await journal.aclose()


def run(program: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program on a journal in a process of its own, warnings being errors."""
    command = [sys.executable, "-W", "error", *options, "-c", program, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own


FORK = """
import asyncio, os, sys
from langchain_oneshot_voice.journal import CallJournal, NewCall

def new(key):
    return NewCall(call_key=key, account="a", base_url="b", numbers=(), fingerprint=key, request={})

async def claim(key):
    terms = {"owner": str(os.getpid()), "duplicate_window": 0}
    return (await asyncio.wait_for(journal.claim(new(key), **terms), 20)).kind

async def states():
    return [(await journal.read(k)).state for k in ("before", "child", "parent")]

journal = CallJournal(sys.argv[1], lease=1000)
asyncio.run(claim("before"))
child = os.fork()
if child == 0:
    kinds = asyncio.run(claim("before")), asyncio.run(claim("child"))
    asyncio.run(journal.aclose())
    os._exit(0 if kinds == ("held", "mine") else 1)
_, status = os.waitpid(child, 0)
kind = asyncio.run(claim("parent"))
print(status, kind, asyncio.run(states()))
"""


def test_a_forked_child_is_a_worker_of_its_own(tmp_path: Path) -> None:
    """Parent and child write to one file, and the child does not have the parent's calls."""
    forked = run(FORK, tmp_path / "calls.sqlite", "-W", "ignore::DeprecationWarning")
    assert (forked.stdout, forked.stderr) == ("0 mine ['claimed', 'claimed', 'claimed']\n", "")


UNCLOSED = """
import asyncio, logging, sys
from langchain_oneshot_voice.journal import CallJournal
logging.getLogger("asyncio").setLevel(logging.ERROR)  # a slow machine is not a fault
asyncio.run(CallJournal(sys.argv[1]).forget(0))
kept = CallJournal(sys.argv[1])
asyncio.run(kept.forget(0))
"""


def test_a_journal_that_nobody_closes_closes_itself(tmp_path: Path) -> None:
    """When it is dropped, or when the program ends, without a warning and with no log left."""
    ended = run(UNCLOSED, tmp_path / "c.sqlite", "-X", "dev")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert names(tmp_path) == ["c.sqlite"]
