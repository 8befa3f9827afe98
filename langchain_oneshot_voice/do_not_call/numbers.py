"""Reading the numbers that a person writes for the do-not-call list.

A number is listed in E.164, the spelling in which a call looks it up. Either all of the numbers are
read, or none is. The journal stores the list.
"""

from __future__ import annotations

from collections.abc import Iterable

from langchain_oneshot_voice import wording


def read_listed(spelled: Iterable[str], default_region: str | None = None) -> tuple[str, ...]:
    """Return the numbers in E.164, without repeats.

    Args:
        spelled: the numbers as people write them.
        default_region: the country of numbers without a `+`, ISO 3166 alpha-2.

    Raises:
        InvalidCallError: there are no numbers, or one of them can't be called.
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
