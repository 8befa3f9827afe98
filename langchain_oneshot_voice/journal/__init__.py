"""The durable record of calls: `CallJournal`, its values and its errors.

The names that need a database package are imported when they are first asked for.

call_journal.py  `CallJournal`: an async method for each step of a call
calls.py         what each step does to a call's row
workers.py       who has a call: live workers and their heartbeats
questions.py     what people were asked, and their answers
guards.py        why a call may have to wait: duplicates, busy lines, the day's limits
spend.py         the day's money, as sums by the minute and the hour
suppressions.py  people who do not want to be called
forgetting.py    removing what was said, after a time
records.py       the values and the errors
schema.py        the tables
migrations.py    how a database comes to have the tables
addresses.py     where a journal is, and what is seen to be wrong with that
store.py         what differs between SQLite and PostgreSQL
sqlite_file.py   the file of an SQLite journal, watched while it is open
writer.py        the one thread that writes, and commits in groups
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_oneshot_voice.call_states import (
    ENDED,
    FOLLOWS,
    UNSETTLED,
    UNSIGNED,
    CallState,
)
from langchain_oneshot_voice.journal.addresses import address, check_address, default_path
from langchain_oneshot_voice.journal.records import (
    AskedQuestion,
    CallRecord,
    Claim,
    ClaimKind,
    DuplicateCall,
    Guard,
    IllegalMoveError,
    JournalError,
    JournalUnavailableError,
    NewCall,
    NumberBusy,
    NumberFeePaid,
    NumberLimitReached,
    NumberSuppressed,
    Paused,
    SpendLimitReached,
    SpendLimits,
    Suppression,
)

if TYPE_CHECKING:
    from langchain_oneshot_voice.journal.call_journal import CallJournal
    from langchain_oneshot_voice.journal.guards import LINE_BUSY_SECONDS

__all__ = [
    "ENDED",
    "FOLLOWS",
    "LINE_BUSY_SECONDS",
    "UNSETTLED",
    "UNSIGNED",
    "AskedQuestion",
    "CallJournal",
    "CallRecord",
    "CallState",
    "Claim",
    "ClaimKind",
    "DuplicateCall",
    "Guard",
    "IllegalMoveError",
    "JournalError",
    "JournalUnavailableError",
    "NewCall",
    "NumberBusy",
    "NumberFeePaid",
    "NumberLimitReached",
    "NumberSuppressed",
    "Paused",
    "SpendLimitReached",
    "SpendLimits",
    "Suppression",
    "address",
    "check_address",
    "default_path",
]

_MODULES = {"CallJournal": "call_journal", "LINE_BUSY_SECONDS": "guards"}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as the protocol has it
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
