"""Putting the numbers of a call on the do-not-call list when a person on it opts out.

A journal error is logged and not raised: the outcome of a call matters more than the list. The
opt-out is noted in the record of its call, so a later call of `suppress_opt_outs` retries.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from langchain_oneshot_voice.journal import CallJournal, JournalError
from langchain_oneshot_voice.schemas import TranscriptTurn

log = logging.getLogger(__name__)

_LONGEST_REASON = 200
"""Maximum length of the words that are kept as the reason, in characters."""


def find_opt_out(transcript: Sequence[TranscriptTurn]) -> str | None:
    """Return the words with which a person opted out; `None` if nobody did."""
    from langchain_oneshot_voice.do_not_call.phrases import asks_not_to_be_called  # noqa: PLC0415 - slow to import

    words = asks_not_to_be_called(transcript)
    return words and words[:_LONGEST_REASON]


async def suppress_opt_outs(journal: CallJournal) -> None:
    """Suppress the numbers of every call whose record notes an opt-out."""
    with _errors_logged():
        await journal.suppress_opt_outs()


async def record_opt_out(
    journal: CallJournal, call_key: str, words: str, numbers: Sequence[str]
) -> None:
    """Note an opt-out in the record of its call, and suppress the call's numbers.

    Args:
        journal: stores the list.
        call_key: the key of the call on record.
        words: what the person said.
        numbers: the numbers of the call, in case its record no longer has them.
    """
    with _errors_logged():
        await journal.record_opt_out(call_key, words[:_LONGEST_REASON], numbers)


@contextmanager
def _errors_logged() -> Iterator[None]:
    try:
        yield
    except JournalError as error:
        log.error("a request not to be called is not on the list yet: %s", error)  # noqa: TRY400
