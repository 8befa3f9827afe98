"""Listing the numbers of a call when somebody there asked not to be called again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from langchain_oneshot_voice.journal import CallJournal, JournalError
from langchain_oneshot_voice.schemas import TranscriptTurn

log = logging.getLogger(__name__)

_LONGEST_REASON = 200
"""Characters of what was said that are kept as the reason."""


def hear_opt_out(transcript: Sequence[TranscriptTurn]) -> str | None:
    """The words of a transcript in which somebody asks not to be called again."""
    from langchain_oneshot_voice.do_not_call.phrases import asks_not_to_be_called  # noqa: PLC0415 - slow to import

    words = asks_not_to_be_called(transcript)
    return words and words[:_LONGEST_REASON]


async def list_opt_outs(
    journal: CallJournal,
    call_key: str | None = None,
    words: str | None = None,
    numbers: Sequence[str] = (),
) -> None:
    """Put everybody who asked for it on the do-not-call list.

    The words are noted with a call's end, so that what fails here is written another time: by the
    next call that is asked for it, or by `recover`. A failing journal is logged: the outcome of a
    call is worth more than the list.

    Args:
        journal: where the list is.
        call_key: a call of which it has been heard just now, by its key on record.
        words: what was said there.
        numbers: the call's numbers, should it be forgotten by now.
    """
    words = words and words[:_LONGEST_REASON]
    try:
        await journal.list_opt_outs(call_key, words)
        if numbers and words:
            await journal.suppress(numbers, f"said on the phone: {words}")
    except JournalError as trouble:
        log.error("a request not to be called is not on the list yet: %s", trouble)  # noqa: TRY400
