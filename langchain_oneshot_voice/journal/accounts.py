"""The account of each access token, as the service first reported it."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.journal.schema import journal_meta

_READ = select(journal_meta.c.value).where(journal_meta.c.name == bindparam("token"))
_INSERT = journal_meta.insert()


def of_token(connection: Connection, _now: float, fingerprint: str, reported: str) -> str:
    """Return the account that was reported first; store this one if it is the first."""
    name = f"account of token {fingerprint}"
    known = connection.scalar(_READ, {"token": name})
    if known is None:
        connection.execute(_INSERT, {"name": name, "value": reported})
    return reported if known is None else str(known)
