"""Old calls lose what was said and to whom; states, times and amounts stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from langchain_oneshot_voice.call_states import ENDED
from langchain_oneshot_voice.journal import guards, suppressions
from langchain_oneshot_voice.journal.schema import call_numbers, calls, questions

_FORGOTTEN = calls.c.forgotten_at.is_not(None)
_OF_FORGOTTEN = select(calls.c.call_key).where(_FORGOTTEN)
_WORDS: Mapping[str, Any] = {
    "numbers": (),
    "request": {},
    "offer": None,
    "approval_id": None,
    "payment": None,
    "placement": None,
    "job": None,
}


def forget(connection: Connection, now: float, older_than: float) -> int:
    """Scrub calls that ended long enough ago; what a daily limit needs stays for the day."""
    suppressions.list_opt_outs(connection, now)
    scrubbed = connection.execute(
        calls.update()
        .where(
            calls.c.state.in_(sorted({*ENDED, "refused"})),
            calls.c.forgotten_at.is_(None),
            calls.c.updated_at < now - older_than,
        )
        .values(**_WORDS, forgotten_at=now)
    )
    connection.execute(questions.delete().where(questions.c.call_key.in_(_OF_FORGOTTEN)))
    day_began = now - guards.DAY_SECONDS
    past = or_(call_numbers.c.committed_at.is_(None), call_numbers.c.committed_at <= day_began)
    connection.execute(
        call_numbers.delete().where(call_numbers.c.call_key.in_(_OF_FORGOTTEN), past)
    )
    still_counted = select(call_numbers.c.call_key)
    connection.execute(
        calls.update()
        .where(_FORGOTTEN, calls.c.fingerprint != "", calls.c.call_key.not_in(still_counted))
        .values(fingerprint="")
    )
    counted = and_(call_numbers.c.call_key.in_(_OF_FORGOTTEN), call_numbers.c.number.not_like("#%"))
    for number in connection.scalars(select(call_numbers.c.number).distinct().where(counted)).all():
        connection.execute(
            call_numbers.update()
            .where(call_numbers.c.number == number, counted)
            .values(number=guards.number_tag(connection, number))
        )
    return scrubbed.rowcount
