"""The durable record of calls: `CallJournal`, what it answers, and how it says no.

call_journal.py  the face: an async operation for each step of a call
calls.py         what each operation does to the tables
guards.py        what may stand in a call's way: duplicates, busy lines, the day's limits
records.py       the values and the errors
schema.py        the tables and their migrations
store.py         what differs between SQLite and PostgreSQL
writer.py        the one thread that writes, and commits in groups
"""

from langchain_oneshot_voice.journal.call_journal import CallJournal
from langchain_oneshot_voice.journal.guards import LINE_BUSY_SECONDS
from langchain_oneshot_voice.journal.records import (
    CallRecord,
    CallState,
    Claim,
    ClaimKind,
    DuplicateCall,
    IllegalMoveError,
    JournalError,
    JournalRefusal,
    JournalUnavailableError,
    LeaseLost,
    NewCall,
    NumberBusy,
    NumberLimitReached,
    NumberSuppressed,
    SpendLimitReached,
    SpendLimits,
    Suppression,
)

__all__ = [
    "LINE_BUSY_SECONDS",
    "CallJournal",
    "CallRecord",
    "CallState",
    "Claim",
    "ClaimKind",
    "DuplicateCall",
    "IllegalMoveError",
    "JournalError",
    "JournalRefusal",
    "JournalUnavailableError",
    "LeaseLost",
    "NewCall",
    "NumberBusy",
    "NumberLimitReached",
    "NumberSuppressed",
    "SpendLimitReached",
    "SpendLimits",
    "Suppression",
]
