"""The stop switch: while it is on, nobody who shares the journal can sign a call.

The transaction that signs reads the switch, so the switch takes effect when it is committed. Calls
that were signed before it continue to their end.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.journal.records import Paused
from langchain_oneshot_voice.journal.schema import journal_meta

_NAME = "paused"
_SWITCH_ROW = journal_meta.c.name == _NAME
_READ = select(journal_meta.c.value).where(_SWITCH_ROW)
_DELETE = journal_meta.delete().where(_SWITCH_ROW)
_INSERT = journal_meta.insert().values(name=_NAME, value=bindparam("pause_json"))


def pause(connection: Connection, now: float, reason: str, by: str) -> Paused:
    """Turn the switch on; if it is on already, keep the first reason."""
    known = paused(connection, now)
    if known is not None:
        return known
    new = Paused(reason, by, since=now)
    connection.execute(_INSERT, {"pause_json": json.dumps(asdict(new))})
    return new


def resume(connection: Connection, _now: float) -> bool:
    """Turn the switch off; return whether it was on."""
    return connection.execute(_DELETE).rowcount == 1


def paused(connection: Connection, _now: float) -> Paused | None:
    """Return who turned the switch on, when and why; `None` if it is off."""
    stored = connection.scalar(_READ)
    return None if stored is None else Paused(**json.loads(stored))
