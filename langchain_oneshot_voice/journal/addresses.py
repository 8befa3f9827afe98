"""Where a journal is: reads a path or a URL, and reports what is wrong with it.

It opens nothing and imports no database package, because creating a tool calls it. No message
contains a URL, which can contain a password in an unexpected place.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import Literal

import platformdirs

from langchain_oneshot_voice import wording

ENVIRONMENT = "ONESHOT_VOICE_JOURNAL"
MEMORY = "memory"

_SQLITE = {"sqlite", "sqlite+pysqlite"}
_POSTGRES = {"postgresql", "postgres", "postgresql+psycopg"}

_SCHEME = re.compile(r"([A-Za-z][\w+.-]{1,40}):(//)?", re.ASCII)
"""The start of a URL. At least two letters: one letter and a colon is a Windows drive."""

_CONNECTION_STRING = re.compile(r"\b(host|dbname|password|passfile)\s*=", re.IGNORECASE)
"""The keyword form of libpq. Read as a path, it would create a file with a password in its name."""

_NETWORK = re.compile(
    r"(?:[^:/@?]*(?::[^@?]*)?@)?"  # a user and a password
    r"(?:\[[0-9A-Fa-f:.%]*\]|[^:/?@\[\]]*)(?::[0-9]*)?"  # a host and a port
    r"(?:[/?][^@]*)?"  # a database and options
)
"""What may follow `postgresql://`.

Stricter than SQLAlchemy, which reads `ss@h` as the host of `u:p@ss@h` and shows it in messages.
"""


def address(where: str | Path | None, *, sandbox_port: int | None = None) -> str | Path:
    """Return the journal's address: the argument, else the environment's, else the default.

    The path of a file is absolute, so that a later change of directory does not change the file.

    Args:
        where: a path, a URL or `"memory"`; `None` for the environment's or the default.
        sandbox_port: the port of the service if it runs on this machine. Its calls are not real, so
            they get a default file of their own.
    """
    where = where or os.environ.get(ENVIRONMENT) or default_path(sandbox_port)
    path = None if address_fault(where) or is_postgres(where) else file_of(where)
    if path is None or isinstance(where, Path) or "://" not in where:
        return path or where
    _, mark, options = where.partition("?")
    return f"{where.partition(':')[0]}:///{path}{mark}{options}"


def check_address(where: str | Path | None, *, sandbox_port: int | None = None) -> None:
    """Check a journal's address without opening or creating anything.

    Takes the arguments of `address`. Imports no database package.

    Raises:
        ConfigurationError: the URL can't be read, or its database is not supported; psycopg is
            missing; the file can't be created or written.
    """
    where = address(where, sandbox_port=sandbox_port)
    fault = address_fault(where)
    if fault is None and is_postgres(where):
        missing = importlib.util.find_spec("psycopg") is None
        fault = wording.journal_needs_psycopg() if missing else None
    elif fault is None and (path := file_of(where)) is not None:
        fault = _file_fault(path)
    if fault is not None:
        raise wording.journal_address_unusable(fault)


def address_fault(where: str | Path) -> str | None:
    """Return why this can't be the address of a journal; `None` if it can."""
    if isinstance(where, Path):
        return None
    start = _SCHEME.match(where)
    if start is None:
        unreadable = "://" in where or _CONNECTION_STRING.search(where)
        return wording.journal_url_unreadable() if unreadable else None
    scheme, rest = start[1], where[start.end() :]
    if start[2] is None:
        readable = False
    elif scheme in _SQLITE:
        readable = (not rest or rest.startswith("/")) and not rest.startswith("/file:")
    elif scheme in _POSTGRES:
        readable = _NETWORK.fullmatch(rest) is not None
    else:
        return wording.journal_scheme_unknown(scheme)
    return None if readable else wording.journal_url_unreadable()


def is_postgres(where: str | Path) -> bool:
    """Return whether a valid address is a PostgreSQL database."""
    return isinstance(where, str) and where.partition("://")[0] in _POSTGRES


def file_of(where: str | Path) -> Path | None:
    """Return the file of a valid address of an SQLite journal; `None` for memory."""
    if where == MEMORY:
        return None
    if isinstance(where, Path) or "://" not in where:
        return Path(where).expanduser().absolute()
    path = where.partition("://")[2].partition("?")[0].removeprefix("/")
    return None if path in ("", ":memory:") else Path(path).absolute()


def default_path(sandbox_port: int | None) -> Path:
    """Return the default file of the journal; see `address`."""
    name = "calls" if sandbox_port is None else f"sandbox-127.0.0.1-{sandbox_port}"
    return Path(platformdirs.user_data_dir("langchain-oneshot-voice")) / f"{name}.sqlite"


def _file_fault(path: Path) -> str | None:
    """Return why a journal can't be created or written at a path; `None` if it can."""
    why: Literal["no_file", "read_only"] | None = None
    try:
        if path.exists():
            if not path.is_file():
                why = "no_file"
            elif not os.access(path, os.W_OK):
                why = "read_only"
            return wording.journal_path_unusable(str(path), why) if why else None
        folder = next(folder for folder in path.parents if folder.exists())
    except OSError:  # a name that is too long, or a folder without search permission
        return wording.journal_path_unusable(str(path.parent), "folder")
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return wording.journal_path_unusable(str(path.parent), "folder")
