"""Where a journal is: what a path or a URL means, and what is seen to be wrong with it.

Opens nothing and imports no database: it is asked when a tool is made. No text that comes from here
shows a URL, which may hold a password in a place where nobody looks for one.
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
"""How a URL begins. One letter and a colon are a drive of Windows."""

_CONNECTION_STRING = re.compile(r"\b(host|dbname|password|passfile)\s*=", re.IGNORECASE)
"""How libpq writes an address. As a path it would be a file with a password in its name."""

_NETWORK = re.compile(
    r"(?:[^:/@?]*(?::[^@?]*)?@)?"  # a user and a password
    r"(?:\[[0-9A-Fa-f:.%]*\]|[^:/?@\[\]]*)(?::[0-9]*)?"  # a host and a port
    r"(?:[/?][^@]*)?"  # a database and options
)
"""What may follow `postgresql://`.

Stricter than SQLAlchemy, which takes `u:p@ss@h` for the host `ss@h` and shows it.
"""


def address(where: str | Path | None, *, sandbox_port: int | None = None) -> str | Path:
    """The journal that is meant: this one, else the environment's, else the default.

    A file is named from the root, so that it is the same one wherever the process goes.

    Args:
        where: a path, a URL or `"memory"`, if the user gave one.
        sandbox_port: where the service listens, if it is on this machine: its calls are no real
            ones, and stay out of the user's own record.
    """
    where = where or os.environ.get(ENVIRONMENT) or default_path(sandbox_port)
    path = None if address_fault(where) or is_postgres(where) else file_of(where)
    if path is None or isinstance(where, Path) or "://" not in where:
        return path or where
    _, mark, options = where.partition("?")
    return f"{where.partition(':')[0]}:///{path}{mark}{options}"


def check_address(where: str | Path | None, *, sandbox_port: int | None = None) -> None:
    """Say at once what will be wrong with a journal, as far as that can be seen from here.

    Takes what `address` takes. Opens and makes nothing, and imports no database.

    Raises:
        ConfigurationError: the URL can't be read or is of another database; psycopg is missing; a
            file can't be created or written.
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
    """Tell why no journal can be meant by this, whatever there is; `None` if one can."""
    if isinstance(where, Path):
        return None
    begins = _SCHEME.match(where)
    if begins is None:
        written_wrong = "://" in where or _CONNECTION_STRING.search(where)
        return wording.journal_url_unreadable() if written_wrong else None
    scheme, rest = begins[1], where[begins.end() :]
    if begins[2] is None:
        readable = False
    elif scheme in _SQLITE:
        readable = (not rest or rest.startswith("/")) and not rest.startswith("/file:")
    elif scheme in _POSTGRES:
        readable = _NETWORK.fullmatch(rest) is not None
    else:
        return wording.journal_scheme_unknown(scheme)
    return None if readable else wording.journal_url_unreadable()


def is_postgres(where: str | Path) -> bool:
    """Tell whether a readable address is a PostgreSQL database's."""
    return isinstance(where, str) and where.partition("://")[0] in _POSTGRES


def file_of(where: str | Path) -> Path | None:
    """The file that a readable address of an SQLite journal means; `None` for memory."""
    if where == MEMORY:
        return None
    if isinstance(where, Path) or "://" not in where:
        return Path(where).expanduser().absolute()
    path = where.partition("://")[2].partition("?")[0].removeprefix("/")
    return None if path in ("", ":memory:") else Path(path).absolute()


def default_path(sandbox_port: int | None) -> Path:
    """The file where calls are recorded if nobody says where; see `address`."""
    name = "calls" if sandbox_port is None else f"sandbox-127.0.0.1-{sandbox_port}"
    return Path(platformdirs.user_data_dir("langchain-oneshot-voice")) / f"{name}.sqlite"


def _file_fault(path: Path) -> str | None:
    """Tell why no journal can be made or written at a path; `None` if one can."""
    why: Literal["no_file", "read_only"] | None = None
    try:
        if path.exists():
            if not path.is_file():
                why = "no_file"
            elif not os.access(path, os.W_OK):
                why = "read_only"
            return wording.journal_path_unusable(str(path), why) if why else None
        folder = next(folder for folder in path.parents if folder.exists())
    except OSError:  # a name that is too long, or a folder that may not be looked into
        return wording.journal_path_unusable(str(path.parent), "folder")
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return None
    return wording.journal_path_unusable(str(path.parent), "folder")
