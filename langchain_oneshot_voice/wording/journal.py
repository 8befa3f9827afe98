"""Texts for a journal whose address, database or file can't be used.

They are the messages of `JournalUnavailableError`. For a model, `refusals.journal_unavailable` adds
that nothing was charged, and `refusals.fate_unrecorded` that it is not known whether money moved.
"""

from __future__ import annotations

from typing import Literal

from langchain_oneshot_voice.errors import ConfigurationError

FileFault = Literal["gone", "replaced", "log", "file_read_only", "folder_read_only"]
"""A problem with the journal's file while a process uses it.

- `gone`: there is no file at the path.
- `replaced`: a different file is at the path.
- `log`: one of SQLite's two files beside it (`-wal`, `-shm`) was deleted or replaced.
- `file_read_only`, `folder_read_only`: the file or its folder can't be written any more.
"""

JOURNAL_ADVICE = (
    "Set ONESHOT_VOICE_JOURNAL or the journal argument to a path that can be written or to a "
    'database URL, or pass journal="memory" to keep the record only until the process ends.'
)
_ANOTHER = "Choose another with ONESHOT_VOICE_JOURNAL or the journal argument."
_RESTART = (
    "If it is lost, stop every process that uses the journal before you start one again: {} has no"
    " record of earlier payments, of today's spending or of people who must not be called."
)
_FILE_FAULTS: dict[FileFault, str] = {
    "gone": "The call journal's file {path} was deleted or moved while this process was using it."
    f" Put the same file back. {_RESTART.format('a new file')}",
    "replaced": "The call journal's file {path} was replaced by a different file while this process"
    f" was using it. Put the original file back. {_RESTART.format('another file')}",
    "log": "{path}, a part of the call journal, was deleted or replaced while this process was"
    " using it. Stop every process that uses the journal, then start them again: a process that has"
    " the part open saves it when it stops.",
    "file_read_only": "The call journal's file {path} was made read-only while this process was"
    " using it. Make it writable again; no restart is needed.",
    "folder_read_only": "The folder of the call journal, {path}, was made read-only while this"
    " process was using it. Make it writable again; no restart is needed.",
}

_DATABASE_FAULTS = {
    "SQLITE_FULL": ("the disk is full", "Make room on the disk."),
    "SQLITE_IOERR": (
        "the disk failed, or is full",
        "Make room on the disk, and check it for errors.",
    ),
    "SQLITE_BUSY": (
        "another program kept it locked for {busy:g} seconds",
        "Find the program that has it open, and end its transaction.",
    ),
    "SQLITE_READONLY": ("it can't be written", "Make the file and its folder writable."),
    "SQLITE_CANTOPEN": ("it can't be opened", JOURNAL_ADVICE),
    "SQLITE_NOTADB": ("it is not an SQLite database", _ANOTHER),
    "SQLITE_CORRUPT": ("it is damaged", "Restore it from a copy, or repair it."),
}


def journal_failed(
    doing: str, where: str, why: str, *, sqlite_error: str = "", busy: float = 0
) -> str:
    """The database failed.

    Args:
        doing: the operation, such as `open`.
        where: the database's address without a password.
        why: the database's own message.
        sqlite_error: SQLite's error name, such as `SQLITE_IOERR_WRITE`.
        busy: the lock timeout, in seconds.
    """
    # An extended code such as `SQLITE_IOERR_WRITE` starts with its primary code.
    cause, advice = _DATABASE_FAULTS.get("_".join(sqlite_error.split("_")[:2]), ("", ""))
    details = f"{cause.format(busy=busy)}; {why}" if cause else why
    return f"Can't {doing} the call journal at {where} ({details}). {advice or JOURNAL_ADVICE}"


def journal_file_fault(fault: FileFault, path: str) -> str:
    """The file changed after it was opened."""
    return _FILE_FAULTS[fault].format(path=path)


def journal_closed(where: str) -> str:
    """The program used the journal after closing it."""
    return f"The call journal at {where} is closed."


def journal_not_ours(where: str) -> str:
    """The SQLite file contains another program's tables."""
    return f"{where} is the database of another program, not a call journal. {_ANOTHER}"


def journal_meta_not_ours() -> str:
    """The database has a table with the journal's name that holds no schema version."""
    return (
        "The database of the call journal has a table journal_meta that is not the journal's."
        f" {_ANOTHER}"
    )


def journal_version_unreadable(stored: str) -> str:
    """The stored schema version is not a valid number."""
    shown = stored if len(stored) <= 40 else f"{stored[:40]}…"  # noqa: PLR2004 - fits on a line
    return (
        f"The call journal's schema version is {shown!r}, which is not a number from 1 up. "
        f"Repair it, or choose another journal with ONESHOT_VOICE_JOURNAL or the journal argument."
    )


def journal_too_new(version: int, known: int) -> str:
    """A newer version of the package wrote the journal."""
    return (
        f"The call journal has schema version {version} and this version of "
        f"langchain-oneshot-voice knows up to {known}. Upgrade the package, or choose another "
        "journal with ONESHOT_VOICE_JOURNAL or the journal argument."
    )


def journal_url_unreadable() -> str:
    """The text is not a database URL."""
    # The URL is not shown: any part of it may be a password.
    return (
        "The journal's URL can't be read. In a user name or a password, write @ as %40, : as %3A, "
        f"/ as %2F, ? as %3F and % as %25. {JOURNAL_ADVICE}"
    )


def journal_scheme_unknown(scheme: str) -> str:
    """The database is not supported."""
    return (
        "A journal can be in SQLite or in PostgreSQL (postgresql+psycopg), not in "
        f"{scheme}. {JOURNAL_ADVICE}"
    )


def journal_needs_psycopg() -> str:
    """The extra `postgres` is not installed."""
    return (
        "A journal in PostgreSQL needs psycopg 3: pip install 'langchain-oneshot-voice[postgres]'."
    )


def journal_path_unusable(path: str, why: Literal["folder", "no_file", "read_only"]) -> str:
    """No file can be created or written at the path.

    Args:
        path: the file; for `folder`, the folder.
        why: the folder can't be created or written, the path is not a file, or the file is
            read-only.
    """
    problem = {
        "folder": f"The folder {path} can't be created or written: a call journal needs it.",
        "no_file": f"{path} is not a file, so it can't be a call journal.",
        "read_only": f"The call journal's file {path} can't be written.",
    }[why]
    return f"{problem} {JOURNAL_ADVICE}"


def journal_address_unusable(trouble: str) -> ConfigurationError:
    """The journal's address is wrong; this is found before it is used.

    Args:
        trouble: one of the texts above.
    """
    return ConfigurationError(
        trouble,
        code="journal_unavailable",
        advice="No call is placed without a journal, which records every call.",
    )
