"""The two kinds of database that a journal can live in, and where they differ.

SQLite: a file of the user's alone, write-ahead logged and synced at each commit; one writer at a
time by `BEGIN IMMEDIATE`. PostgreSQL: one writer at a time by an advisory lock, the server's clock
(machines disagree about the time, journals must not), and a way to learn what became of a commit
whose answer was lost. Everything else about a journal is the same code on both.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.pool import NullPool

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.journal.addresses import (
    address,
    address_fault,
    file_of,
    is_postgres,
)
from langchain_oneshot_voice.journal.migrations import migrate
from langchain_oneshot_voice.journal.records import JournalUnavailableError
from langchain_oneshot_voice.journal.sqlite_file import SQLiteFile

_ABOUT_THE_DATABASE = (OperationalError, InterfaceError, ProgrammingError)
_BUSY_SECONDS = 30.0
_LOCK_KEY = 0x0E5407_0CE  # any constant: it only has to be the same in every process
_SHOWN_OPTIONS = {"host", "port", "dbname", "user"}
"""Options of a PostgreSQL URL whose values are no secrets. Any other may be one."""

_RECOGNISABLE = 4
"""Characters of a secret that are too many to show."""


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

    def check(self, *, writing: bool) -> None:
        """Raise if what is written would be found by nobody."""

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Tell, inside a later transaction, whether that one committed."""

    def failed(self, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
        """Say why an operation failed, without a secret."""


def locate(where: str | Path | None) -> Store:
    """Choose the store for a path, a database URL, `"memory"`, or the default for `None`.

    Raises:
        JournalUnavailableError: it is no address that a journal can live at.
    """
    where = address(where)
    fault = address_fault(where)
    if fault is not None:
        raise JournalUnavailableError(fault)
    if is_postgres(where):
        return PostgresStore(_read_url(str(where)).set(drivername="postgresql+psycopg"))
    path = file_of(where)
    url = _read_url(where) if isinstance(where, str) and "://" in where else URL.create("sqlite")
    return SQLiteStore(url.set(database=":memory:" if path is None else str(path)))


def display(url: URL) -> str:
    """Write a URL without its options and without the password in it."""
    host = url.host or url.query.get("host")
    shown = url.set(query={}, host=host if isinstance(host, str) else None)
    return shown.render_as_string(hide_password=True)


def unavailable(
    url: URL, error: Exception, *, doing: str = "use", secrets: Sequence[str] = ()
) -> JournalUnavailableError:
    """Say what was tried, why it failed and what to do, and none of the rows involved.

    Raise it outside of the `except` block: an error that is its context holds, in the frames of
    its traceback, what the connection was made with.
    """
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    why = type(cause).__name__
    sqlite_error = str(getattr(cause, "sqlite_errorname", ""))
    # What a database says of a row that it doesn't like quotes the row: show the name alone.
    about_the_database = isinstance(error, _ABOUT_THE_DATABASE) or type(error) is DatabaseError
    if not isinstance(error, DBAPIError) or about_the_database:
        said = " ".join(str(cause).split())
        why = why if _shows_part(said, secrets) else f"{why}: {said}"
    failed = wording.journal_failed(
        doing, display(url), why, sqlite_error=sqlite_error, busy=_BUSY_SECONDS
    )
    return JournalUnavailableError(failed)


def _read_url(where: str) -> URL:
    try:
        return make_url(where)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        pass
    raise JournalUnavailableError(wording.journal_url_unreadable())


def _shows_part(said: str, secrets: Sequence[str]) -> bool:
    return any(
        secret[i : i + _RECOGNISABLE] in said
        for secret in secrets
        for i in range(max(1, len(secret) - _RECOGNISABLE + 1))
    )


class SQLiteStore:
    """A file that the processes of one machine share, or memory that one thread has to itself."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.clock_offset = 0.0
        in_memory = url.database in (None, "", ":memory:")
        self._file = None if in_memory else SQLiteFile(Path(str(url.database)))
        self.engine = _sqlite_engine(url)

    def connect(self) -> Connection:
        """Open the file, creating it for its owner's eyes only."""
        try:
            if self._file is not None:
                self._file.make()
            connection = _open(self, self.engine)
        except (OSError, DBAPIError) as error:
            failure = self.failed(error, doing="open")
        else:
            return self._watched(connection)
        raise failure

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin at once as the one writer, or as one of many readers."""
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
        self.check(writing=writing)
        return Started(now=time.time() + self.clock_offset)

    def _watched(self, connection: Connection) -> Connection:
        if self._file is not None:
            try:
                self._file.opened()
            except JournalUnavailableError:
                connection.close()
                raise
        return connection

    def check(self, *, writing: bool) -> None:
        """Require the file that was opened to be where it was."""
        if self._file is not None:
            self._file.check(writing=writing)

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Answer no: a commit in a file of this machine either returns or fails."""
        del connection, transaction_id
        return False

    def failed(self, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
        """Say why an operation failed."""
        return unavailable(self.url, error, doing=doing)


@lru_cache(maxsize=16)
def _sqlite_engine(url: URL) -> Engine:
    """One for all journals at the same address, because each engine compiles every statement anew.

    A journal keeps one connection in one thread for as long as it lives: no pool. So journals in
    memory share no data.
    """
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    try:
        connection.isolation_level = None  # transactions begin where `begin` says
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        _require_a_journal(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is forgotten leaves the file
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # on macOS a plain fsync stops at the drive
        _write_ahead(connection)
    except BaseException:
        connection.close()
        raise


def _require_a_journal(connection: sqlite3.Connection) -> None:
    """Refuse another program's database, before anything in it is changed."""
    tables = {name for (name,) in connection.execute(_TABLES)}
    if tables and "journal_meta" not in tables:
        [(_, _, path)] = connection.execute("PRAGMA database_list").fetchall()
        raise JournalUnavailableError(wording.journal_not_ours(path))


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


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
        hidden = {k: v for k, v in url.query.items() if k not in _SHOWN_OPTIONS}
        if url.password is not None:
            hidden["password"] = str(url.password)
            url = url.set(password="")
        # A URL is shown by whatever holds it: this one has no secret in it.
        self.url = url.difference_update_query(hidden)
        self.clock_offset = 0.0
        self._secrets = [str(value) for value in hidden.values() if value]
        try:
            self.engine = create_engine(
                self.url, poolclass=NullPool, hide_parameters=True, connect_args=hidden
            )
        except (ImportError, NoSuchModuleError) as error:
            raise JournalUnavailableError(wording.journal_needs_psycopg()) from error
        event.listen(self.engine, "connect", self._configure)

    def connect(self) -> Connection:
        """Connect, with limits on how long a stuck worker can hold up the others."""
        try:
            return _open(self, self.engine)
        except DBAPIError as error:
            failure = self.failed(error, doing="open")
        raise failure

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin; a writer waits for its turn first, so that it sees all that came before it."""
        if not writing:
            return Started(now=connection.execute(_CLOCK).scalar_one() + self.clock_offset)
        now, transaction_id = connection.execute(_LOCK, {"key": _LOCK_KEY}).one()
        return Started(now=now + self.clock_offset, transaction_id=transaction_id)

    def check(self, *, writing: bool) -> None:
        """Do nothing: who has a connection has the database."""

    def failed(self, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
        """Say why an operation failed, without what the connection was made with."""
        return unavailable(self.url, error, doing=doing, secrets=self._secrets)

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
