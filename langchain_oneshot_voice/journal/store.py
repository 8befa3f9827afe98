"""The two kinds of database that a journal can live in, and where they differ.

SQLite: a file of the user's alone, write-ahead logged and synced at each commit; one writer at a
time by `BEGIN IMMEDIATE`. PostgreSQL: one writer at a time by an advisory lock, the server's clock
(machines disagree about the time, journals must not), and a way to learn what became of a commit
whose answer was lost. Everything else about a journal is the same code on both.
"""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import platformdirs
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.pool import NullPool

from langchain_oneshot_voice.journal.migrations import migrate
from langchain_oneshot_voice.journal.records import JournalUnavailableError

ENVIRONMENT = "ONESHOT_VOICE_JOURNAL"
MEMORY = "memory"

_ADVICE = (
    f"Set {ENVIRONMENT} or the journal argument to a path that can be written or to a database "
    'URL, or pass journal="memory" to do without a record that outlives the process.'
)
_ABOUT_THE_DATABASE = (OperationalError, InterfaceError, ProgrammingError)
_BUSY_SECONDS = 30.0
_LOCK_KEY = 0x0E5407_0CE  # any constant: it only has to be the same in every process
_SECRET_WORDS = ("password", "passfile", "sslpassword")


@dataclass(frozen=True, slots=True)
class Started:
    """A transaction that has begun.

    Attributes:
        now: the journal's clock, in epoch seconds, read while holding the lock.
        transaction_id: by which the database can tell later whether it committed.
    """

    now: float
    transaction_id: str | None = None


class Store(Protocol):
    """A database that a journal lives in; used from one thread.

    Attributes:
        url: where it is.
        engine: how it is reached.
        clock_offset: seconds added to its clock, so that a test can move the time.
    """

    url: URL
    engine: Engine
    clock_offset: float

    def connect(self) -> Connection:
        """Open the database, creating or migrating it as needed."""

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin a transaction; a writing one excludes every other writer until it ends."""

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Tell, inside a later transaction, whether that one committed."""


def address(where: str | Path | None, *, sandbox_port: int | None = None) -> str | Path:
    """The journal that is meant: this one, else the environment's, else the default.

    Args:
        where: a path, a URL or `"memory"`, if the user gave one.
        sandbox_port: where the service listens, if it is on this machine: its calls are no real
            ones, and stay out of the user's own record.
    """
    return where or os.environ.get(ENVIRONMENT) or _default_path(sandbox_port)


def locate(where: str | Path | None) -> Store:
    """Choose the store for a path, a database URL, `"memory"`, or the default for `None`.

    Raises:
        JournalUnavailableError: it is no address that a journal can live at.
    """
    where = address(where)
    if where == MEMORY:
        return SQLiteStore(URL.create("sqlite", database=":memory:"))
    if isinstance(where, Path) or "://" not in where:
        return SQLiteStore(URL.create("sqlite", database=str(Path(where).expanduser().absolute())))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        # The text may hold a password in a place where nobody looks for one: leave it out.
        raise JournalUnavailableError(f"The journal's URL can't be read. {_ADVICE}") from None
    match url.drivername:
        case "sqlite" | "sqlite+pysqlite":
            return SQLiteStore(url)
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return PostgresStore(url.set(drivername="postgresql+psycopg"))
    raise JournalUnavailableError(
        f"A journal lives in SQLite or in PostgreSQL (postgresql+psycopg), not {url.drivername}. "
        f"{_ADVICE}"
    )


def display(url: URL) -> str:
    """Write a URL without the passwords in it."""
    masked = {word: "***" for word in _SECRET_WORDS if word in url.query}
    return url.update_query_dict(masked).render_as_string(hide_password=True)


def unavailable(url: URL, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
    """Say what was tried, why it failed and what to set, and none of the rows involved."""
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    why = type(cause).__name__
    # What a database says of a row that it doesn't like quotes the row: show the name alone.
    if not isinstance(error, DBAPIError) or isinstance(error, _ABOUT_THE_DATABASE):
        why = f"{why}: {' '.join(str(cause).split())}"
    if url.password:
        why = why.replace(str(url.password), "***")
    return JournalUnavailableError(
        f"Can't {doing} the call journal at {display(url)} ({why}). {_ADVICE}"
    )


def _default_path(sandbox_port: int | None) -> Path:
    name = "calls" if sandbox_port is None else f"sandbox-127.0.0.1-{sandbox_port}"
    return Path(platformdirs.user_data_dir("langchain-oneshot-voice")) / f"{name}.sqlite"


class SQLiteStore:
    """A file that the processes of one machine share, or memory that one thread has to itself."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.clock_offset = 0.0
        self._in_memory = url.database in (None, "", ":memory:")
        # The journal keeps one connection in one thread for as long as it lives: no pool.
        self.engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        event.listen(self.engine, "connect", self._configure)

    def connect(self) -> Connection:
        """Open the file, creating it for its owner's eyes only."""
        try:
            if not self._in_memory:
                self._create_file(Path(str(self.url.database)))
            return _open(self, self.engine)
        except (OSError, DBAPIError) as error:
            raise unavailable(self.url, error, doing="open") from None

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin at once as the one writer, or as one of many readers."""
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
        return Started(now=time.time() + self.clock_offset)

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Answer no: a commit in a file of this machine either returns or fails."""
        del connection, transaction_id
        return False

    @staticmethod
    def _create_file(path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its -wal and -shm files the mode of the file itself.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))

    @staticmethod
    def _configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says, nowhere else
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves the file
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS a plain fsync stops at the drive
        _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    # Switching a new file over does not wait for others that do the same, so wait here.
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


class PostgresStore:
    """A database that workers on any number of machines share."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.clock_offset = 0.0
        try:
            self.engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
        except (ImportError, NoSuchModuleError) as error:
            raise JournalUnavailableError(
                "A journal in PostgreSQL needs psycopg 3: "
                "pip install 'langchain-oneshot-voice[postgres]'."
            ) from error
        event.listen(self.engine, "connect", self._configure)

    def connect(self) -> Connection:
        """Connect, with limits on how long a stuck worker can hold up the others."""
        try:
            return _open(self, self.engine)
        except DBAPIError as error:
            raise unavailable(self.url, error, doing="open") from None

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin; a writer waits for its turn first, so that it sees all that came before it."""
        if not writing:
            return Started(now=connection.execute(_CLOCK).scalar_one() + self.clock_offset)
        now, transaction_id = connection.execute(_LOCK, {"key": _LOCK_KEY}).one()
        return Started(now=now + self.clock_offset, transaction_id=transaction_id)

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Ask the server. Holding the lock means that the earlier transaction has ended."""
        return bool(connection.scalar(_COMMITTED, {"id": transaction_id}))

    @staticmethod
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg is optional
        connection.autocommit = True
        for statement in _SESSION:
            connection.execute(statement)
        connection.autocommit = False


_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_LOCK = text(
    "WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(:key)) "
    "SELECT extract(epoch FROM clock_timestamp())::float8, pg_current_xact_id()::text FROM turn"
)
_COMMITTED = text("SELECT pg_xact_status(CAST(:id AS xid8)) = 'committed'")
_SESSION = (
    f"SET lock_timeout = '{int(_BUSY_SECONDS)}s'",
    f"SET idle_in_transaction_session_timeout = '{int(_BUSY_SECONDS)}s'",
    # Signed bytes have to be on disk before they are on the wire, whatever the server's habit.
    (
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    ),
)


def _open(store: Store, engine: Engine) -> Connection:
    connection = engine.connect()
    try:
        store.begin(connection, writing=True)
        migrate(connection)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection
