"""Putting the numbers of a call on the list when somebody there asked not to be called again."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from langchain_oneshot_voice.journal import CallJournal, JournalError
from langchain_oneshot_voice.schemas import TranscriptTurn

log = logging.getLogger(__name__)

_LONGEST_REASON = 200
"""Characters of what was said that are kept as the reason."""


async def record_opt_out(
    journal: CallJournal,
    numbers: Sequence[str],
    transcript: Sequence[TranscriptTurn],
    heard: str | None = None,
) -> None:
    """List every number of a call on which somebody asked not to be called again.

    A failing journal is logged: the outcome of the call is worth more than the list.

    Args:
        journal: where the list is.
        numbers: those of the call.
        transcript: what was said; the usual phrases are found in it.
        heard: the words that a model found for it.
    """
    from langchain_oneshot_voice.do_not_call.phrases import asks_not_to_be_called  # noqa: PLC0415 - slow to import

    said = heard or asks_not_to_be_called(transcript)
    if said is None:
        return
    log.info("somebody asked not to be called again")
    try:
        await journal.suppress(numbers, f"said on the phone: {said[:_LONGEST_REASON]}")
    except JournalError as trouble:
        log.error("a request not to be called was not recorded: %s", trouble)  # noqa: TRY400
