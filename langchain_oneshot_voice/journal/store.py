"""The two databases that can store a journal, and how they differ.

SQLite: a file that only its user can read, in WAL mode, synced at each commit, with one writer at a
time by `BEGIN IMMEDIATE`. PostgreSQL: one writer at a time by an advisory lock, the clock of the
server (the clocks of machines differ, and the workers need one time), and a query that tells
whether a commit succeeded when its answer was lost. All other code of the journal is the same.
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
_LOCK_KEY = 0x0E5407_0CE  # an arbitrary constant, the same in every process
_SHOWN_OPTIONS = {"host", "port", "dbname", "user"}
"""Options of a PostgreSQL URL that are not secret. Every other option is treated as secret."""

_RECOGNISABLE = 4
"""Number of characters of a secret that may not appear in a message."""


@dataclass(frozen=True, slots=True)
class Started:
    """A transaction that has begun.

    Attributes:
        now: the journal's time, in epoch seconds, read while holding the lock.
        transaction_id: its id, with which `committed` can find out whether it committed.
    """

    now: float
    transaction_id: str | None = None


class Store(Protocol):
    """A database that stores a journal; used from one thread.

    Attributes:
        url: its address, without secrets.
        engine: its SQLAlchemy engine.
        clock_offset: seconds added to its clock, so that a test can move the time.
    """

    url: URL
    engine: Engine
    clock_offset: float

    def connect(self) -> Connection:
        """Open the database, creating or migrating it as needed."""

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin a transaction; a writing one locks out every other writer until it ends."""

    def check(self, *, writing: bool) -> None:
        """Raise if a write would be lost because the database is no longer at its address."""

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Return whether an earlier transaction committed; called inside a later one."""

    def failed(self, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
        """Return an error that says why an operation failed, without a secret."""


def locate(where: str | Path | None) -> Store:
    """Choose the store for a path, a database URL, `"memory"`, or the default for `None`.

    Raises:
        JournalUnavailableError: it is not the address of a journal.
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
    """Return a URL without its options and its password."""
    host = url.host or url.query.get("host")
    shown = url.set(query={}, host=host if isinstance(host, str) else None)
    return shown.render_as_string(hide_password=True)


def unavailable(
    url: URL, error: Exception, *, doing: str = "use", secrets: Sequence[str] = ()
) -> JournalUnavailableError:
    """Return an error that says what failed, why, and what to do, without data of a row.

    Raise it outside of the `except` block. Otherwise the original error becomes its context, and
    the frames of that traceback hold the secrets of the connection.
    """
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig
    why = type(cause).__name__
    sqlite_error = str(getattr(cause, "sqlite_errorname", ""))
    # A database quotes the row in an error about its data: then show only the name of the error.
    about_the_database = isinstance(error, _ABOUT_THE_DATABASE) or type(error) is DatabaseError
    if not isinstance(error, DBAPIError) or about_the_database:
        message = " ".join(str(cause).split())
        why = why if _shows_part(message, secrets) else f"{why}: {message}"
    failed = wording.journal_failed(
        doing, display(url), why, sqlite_error=sqlite_error, busy=_BUSY_SECONDS
    )
    return JournalUnavailableError(failed)


def _read_url(where: str) -> URL:
    try:
        return make_url(where)
    except (ArgumentError, ValueError):  # ValueError for a port that is not a number
        pass
    raise JournalUnavailableError(wording.journal_url_unreadable())


def _shows_part(message: str, secrets: Sequence[str]) -> bool:
    return any(
        secret[i : i + _RECOGNISABLE] in message
        for secret in secrets
        for i in range(max(1, len(secret) - _RECOGNISABLE + 1))
    )


class SQLiteStore:
    """A file that the processes of one machine share, or memory that one thread uses."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.clock_offset = 0.0
        in_memory = url.database in (None, "", ":memory:")
        self._file = None if in_memory else SQLiteFile(Path(str(url.database)))
        self.engine = _sqlite_engine(url)

    def connect(self) -> Connection:
        """Open the file; create it with mode 0600 if it does not exist."""
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
        """Begin a transaction, as the only writer or as one of many readers."""
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
        """Check that the file is still the one that was opened."""
        if self._file is not None:
            self._file.check(writing=writing)

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Return `False`: on a local file, a commit that did not return has failed."""
        del connection, transaction_id
        return False

    def failed(self, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
        """Return an error that says why an operation failed."""
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
    """Refuse the database of another program before changing anything in it."""
    tables = {name for (name,) in connection.execute(_TABLES)}
    if tables and "journal_meta" not in tables:
        [(_, _, path)] = connection.execute("PRAGMA database_list").fetchall()
        raise JournalUnavailableError(wording.journal_not_ours(path))


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


def _write_ahead(connection: sqlite3.Connection) -> None:
    # `busy_timeout` does not apply when several processes switch a new file to WAL: retry here.
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
    """A database that workers on any number of machines can share."""

    def __init__(self, url: URL) -> None:
        hidden = {k: v for k, v in url.query.items() if k not in _SHOWN_OPTIONS}
        if url.password is not None:
            hidden["password"] = str(url.password)
            url = url.set(password="")
        # Any repr or error that contains this URL may show it, so it has no secret in it.
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
        """Connect, with timeouts for a stuck worker that blocks the others."""
        try:
            return _open(self, self.engine)
        except DBAPIError as error:
            failure = self.failed(error, doing="open")
        raise failure

    def begin(self, connection: Connection, *, writing: bool) -> Started:
        """Begin a transaction; a writer takes the lock first, so it sees every earlier write."""
        if not writing:
            return Started(now=connection.execute(_CLOCK).scalar_one() + self.clock_offset)
        now, transaction_id = connection.execute(_LOCK, {"key": _LOCK_KEY}).one()
        return Started(now=now + self.clock_offset, transaction_id=transaction_id)

    def check(self, *, writing: bool) -> None:
        """Do nothing: a connection to a server can't lose its database unnoticed."""

    def failed(self, error: Exception, *, doing: str = "use") -> JournalUnavailableError:
        """Return an error that says why an operation failed, without the connection's secrets."""
        return unavailable(self.url, error, doing=doing, secrets=self._secrets)

    def committed(self, connection: Connection, transaction_id: str | None) -> bool:
        """Ask the server. This transaction holds the lock, so the earlier one has ended."""
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
    # Signed bytes must be on disk before they are sent, so this overrides the server's setting.
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
