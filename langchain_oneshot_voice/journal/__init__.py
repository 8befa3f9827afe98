"""The durable record of calls: `CallJournal`, its values and its errors.

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
store.py         what differs between SQLite and PostgreSQL
writer.py        the one thread that writes, and commits in groups
"""

from langchain_oneshot_voice.call_states import (
    ENDED,
    FOLLOWS,
    UNSETTLED,
    UNSIGNED,
    CallState,
)
from langchain_oneshot_voice.journal.call_journal import CallJournal
from langchain_oneshot_voice.journal.guards import LINE_BUSY_SECONDS
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
from langchain_oneshot_voice.journal.store import address

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
]
