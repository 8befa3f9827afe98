"""What is wrong with the journal's address, its database or its file.

The texts of `JournalUnavailableError`; `refusals.journal_unavailable` puts each before a model, and
adds that nothing was charged, or `refusals.fate_unrecorded`, that nobody can know.
"""

from __future__ import annotations

from typing import Literal

from langchain_oneshot_voice.errors import ConfigurationError

FileFault = Literal["gone", "replaced", "log", "file_read_only", "folder_read_only"]
"""What happened to the journal's file while it was in use.

`gone`: there is no file at the path. `replaced`: there is another one. `log`: the same happened to
one of the two files that SQLite keeps beside it. `file_read_only`, `folder_read_only`: it, or its
folder, could be written before.
"""

JOURNAL_ADVICE = (
    "Set ONESHOT_VOICE_JOURNAL or the journal argument to a path that can be written or to a "
    'database URL, or pass journal="memory" to do without a record that outlives the process.'
)
_ANOTHER = "Choose another with ONESHOT_VOICE_JOURNAL or the journal argument."
_RESTART = (
    "If it is lost, stop every process that uses the journal before you start one again: {} knows"
    " nothing of earlier payments, of what was spent today and of people who are not to be called."
)
_FILE_FAULTS: dict[FileFault, str] = {
    "gone": "The call journal's file {path} was deleted or moved while this process was using it."
    f" Put the same file back. {_RESTART.format('a new file')}",
    "replaced": "The call journal's file {path} is not the one that this process opened: another"
    f" file has taken its place. Put the first one back. "
    f"{_RESTART.format('another file')}",
    "log": "{path}, a part of the call journal, was deleted or replaced while this process was"
    " using it. Stop every process that uses the journal, then start them again: the one that had"
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
        "Make room on the disk, and look whether it is in order.",
    ),
    "SQLITE_BUSY": (
        "another program kept it locked for {busy:g} seconds",
        "Find the program that has it open, and end what it is doing there.",
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
        doing: what was tried, such as `open`.
        where: the database, without a password.
        why: the failure as the database names it.
        sqlite_error: SQLite's name of the failure, such as `SQLITE_IOERR_WRITE`.
        busy: seconds for which a lock is waited for.
    """
    plain, advice = _DATABASE_FAULTS.get("_".join(sqlite_error.split("_")[:2]), ("", ""))
    said = f"{plain.format(busy=busy)}; {why}" if plain else why
    return f"Can't {doing} the call journal at {where} ({said}). {advice or JOURNAL_ADVICE}"


def journal_file_fault(fault: FileFault, path: str) -> str:
    """The file is not what it was when it was opened."""
    return _FILE_FAULTS[fault].format(path=path)


def journal_closed(where: str) -> str:
    """The program closed the journal and then used it."""
    return f"The call journal at {where} is closed."


def journal_not_ours(where: str) -> str:
    """An SQLite file holds another program's tables."""
    return f"{where} is the database of another program, not a call journal. {_ANOTHER}"


def journal_meta_not_ours() -> str:
    """A table has the journal's name and not its content."""
    return (
        "The database of the call journal has a table journal_meta that is not the journal's. "
        f"{_ANOTHER}"
    )


def journal_version_unreadable(stored: str) -> str:
    """The schema's version is no version."""
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
    """The URL is none. It is not shown: a password may stand where nobody looks for one."""
    return (
        "The journal's URL can't be read. In a user name or a password, write @ as %40, : as %3A, "
        f"/ as %2F, ? as %3F and % as %25. {JOURNAL_ADVICE}"
    )


def journal_scheme_unknown(scheme: str) -> str:
    """The URL is of a database that no journal lives in."""
    return (
        "A journal lives in SQLite or in PostgreSQL (postgresql+psycopg), not "
        f"{scheme}. {JOURNAL_ADVICE}"
    )


def journal_needs_psycopg() -> str:
    """The extra `postgres` is not installed."""
    return (
        "A journal in PostgreSQL needs psycopg 3: pip install 'langchain-oneshot-voice[postgres]'."
    )


def journal_path_unusable(path: str, why: Literal["folder", "no_file", "read_only"]) -> str:
    """No file can be made or written at the path.

    Args:
        path: the file; for `folder` the folder that can't be made or written.
        why: which of these it is.
    """
    said = {
        "folder": f"The folder {path} can't be made or written: a call journal needs it.",
        "no_file": f"{path} is not a file: a call journal can't live there.",
        "read_only": f"The call journal's file {path} can't be written.",
    }[why]
    return f"{said} {JOURNAL_ADVICE}"


def journal_address_unusable(trouble: str) -> ConfigurationError:
    """The journal's address is seen to be wrong before it is used.

    Args:
        trouble: one of the texts above.
    """
    return ConfigurationError(
        trouble,
        code="journal_unavailable",
        advice="No call is placed without a journal, which records every call.",
    )
