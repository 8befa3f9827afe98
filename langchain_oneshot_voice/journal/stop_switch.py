"""The stop switch: no call is signed while it is on, by anybody who shares the journal.

It is read in the transaction that signs, so that it holds from the moment in which it is recorded.
Calls that were signed before are seen to their end.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.journal.records import Paused
from langchain_oneshot_voice.journal.schema import journal_meta

_NAME = "paused"
_OURS = journal_meta.c.name == _NAME
_READ = select(journal_meta.c.value).where(_OURS)
_DELETE = journal_meta.delete().where(_OURS)
_INSERT = journal_meta.insert().values(name=_NAME, value=bindparam("said"))


def pause(connection: Connection, now: float, reason: str, by: str) -> Paused:
    """Turn the switch on; if it is on, the first reason stays."""
    known = paused(connection, now)
    if known is not None:
        return known
    stopped = Paused(reason, by, since=now)
    connection.execute(_INSERT, {"said": json.dumps(asdict(stopped))})
    return stopped


def resume(connection: Connection, _now: float) -> bool:
    """Turn it off; whether it was on."""
    return connection.execute(_DELETE).rowcount == 1


def paused(connection: Connection, _now: float) -> Paused | None:
    """Who turned it on, when and why; `None` if it is off."""
    said = connection.scalar(_READ)
    return None if said is None else Paused(**json.loads(said))
