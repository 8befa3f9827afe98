"""The durable record of calls: `CallJournal`, its values and its errors.

The names that need a database package are imported on first use.

call_journal.py     `CallJournal`: an async method for each step of a call
database_access.py  how a journal runs its operations in this process
calls.py            what each step writes to a call's row
workers.py          which worker has a call: live workers and their heartbeats
questions.py        questions to people, and their answers
guards.py           reasons not to sign: duplicates, busy numbers, limits of a day
spend.py            the money spent in a day, as sums by minute and by hour
suppressions.py     the rows of the do-not-call list
stop_switch.py      the switch that stops all calls
accounts.py         the account of each access token
forgetting.py       erasing personal data from old calls
records.py          the values and the errors
schema.py           the tables
migrations.py       creating the tables, and bringing them up to date
addresses.py        reading and checking the address of a journal
store.py            what differs between SQLite and PostgreSQL
sqlite_file.py      the file of an SQLite journal, checked while it is open
writer.py           the writer thread, which commits in groups
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


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's `__getattr__` returns any name
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
