"""Reading the numbers of people who do not want to be called, as somebody writes them down.

Promises that a number is listed in the one spelling in which a call to it is looked up, however it
was written, and that all are listed or none. The list itself is the journal's.
"""

from __future__ import annotations

from collections.abc import Iterable

from langchain_oneshot_voice import wording


def read_listed(spelled: Iterable[str], default_region: str | None = None) -> tuple[str, ...]:
    """The numbers in E.164.

    Args:
        spelled: as people write them.
        default_region: the country of those without a `+`, ISO 3166 alpha-2.

    Raises:
        InvalidCallError: when there is none, or one of them is a number that nobody could call.
    """
    from langchain_oneshot_voice.policy.numbers import NumberRefusedError, read_number  # noqa: PLC0415 - slow

    numbers, problems = [], []
    for written in spelled:
        try:
            numbers.append(read_number(written, default_region=default_region).e164)
        except NumberRefusedError as refused:
            problems.append(f"{refused.number} {refused.why}")
    if problems or not numbers:
        raise wording.list_unchanged(problems)
    return tuple(dict.fromkeys(numbers))
