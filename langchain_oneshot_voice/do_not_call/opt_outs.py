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

    return asks_not_to_be_called(transcript)


async def record_opt_out(journal: CallJournal, call_key: str, words: str) -> None:
    """List every number of a call on which somebody asked not to be called again.

    A failing journal is logged: the outcome of the call is worth more than the list.

    Args:
        journal: where the list is.
        call_key: the call's key on record.
        words: what was said.
    """
    log.info("call %s: somebody asked not to be called again", call_key[:8])
    try:
        record = await journal.read(call_key)
        if record is not None:
            reason = f"said on the phone: {words[:_LONGEST_REASON]}"
            await journal.suppress(record.numbers, reason)
    except JournalError as trouble:
        log.error("a request not to be called was not recorded: %s", trouble)  # noqa: TRY400
