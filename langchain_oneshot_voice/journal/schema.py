"""The journal's tables, and how a database comes to have them.

Money is integer micro-dollars, time is epoch seconds, and whatever the service sent is JSON text,
so that both databases hold the same things in the same way. Opening a journal brings its schema up
to date, in one transaction, under the lock that every writer takes: processes that start together
create it once. A journal written by a newer version is refused, never guessed at.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    func,
    inspect,
    select,
)

from langchain_oneshot_voice.journal.records import CallRecord, JournalUnavailableError

metadata = MetaData()

calls = Table(
    "calls",
    metadata,
    Column("call_key", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("numbers", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("quote", Text),
    Column("quote_id", Text),
    Column("quote_expires_at", Double),
    Column("payment", Text),
    Column("valid_before", Double),
    Column("reserved", BigInteger, nullable=False),
    Column("charged", BigInteger),
    Column("request_id", Text),
    Column("receipt_id", Text),
    Column("job", Text),
    Column("answered", Boolean),
    Column("error_code", Text),
    Column("lease_owner", Text),
    Column("lease_until", Double),
    Column("created_at", Double, nullable=False),
    Column("signed_at", Double),
    Column("placed_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("forgotten_at", Double),
)

committed_at = func.coalesce(calls.c.signed_at, calls.c.placed_at)
"""When money was first committed to a call: a call that cost nothing is placed without signing."""

call_numbers = Table(
    "call_numbers",
    metadata,
    # A key is renamed when its old answer is retired; the numbers follow.
    Column(
        "call_key",
        ForeignKey("calls.call_key", onupdate="CASCADE", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("number", Text, primary_key=True),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("number", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", Double, nullable=False),
)
"""Numbers that are not to be called, by anyone who shares the journal. Never forgotten by age."""

journal_meta = Table(
    "journal_meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

Index("calls_by_fingerprint", calls.c.fingerprint)
Index("calls_by_request_id", calls.c.request_id)
Index("calls_by_state", calls.c.state)
Index("calls_by_age", calls.c.created_at)
Index("calls_by_spend", calls.c.account, calls.c.tenant, committed_at)
Index("calls_by_number", call_numbers.c.number)


def _create(connection: Connection) -> None:
    # A table of the same name that is someone else's has to be an error.
    metadata.create_all(connection, checkfirst=False)
    # Keys the hashes that stand in for forgotten numbers, so that they say nothing elsewhere.
    key = secrets.token_hex(32)
    connection.execute(journal_meta.insert().values(name="number_key", value=key))
    connection.execute(journal_meta.insert().values(name="schema_version", value="0"))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create,)
"""Each step takes the schema from its index to the next version. A released step never changes."""


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, inside the caller's transaction and under its lock.

    Raises:
        JournalUnavailableError: the journal was written by a newer version of this package.
    """
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise JournalUnavailableError(
            f"The call journal has schema version {version} and this version of "
            f"langchain-oneshot-voice knows up to {len(MIGRATIONS)}. Upgrade the package, or "
            "choose another journal with ONESHOT_VOICE_JOURNAL or the journal argument."
        )
    for step in MIGRATIONS[version:]:
        step(connection)
        version += 1
        connection.execute(
            journal_meta.update()
            .where(journal_meta.c.name == "schema_version")
            .values(value=str(version))
        )


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table(journal_meta.name):
        return 0
    stored = connection.scalar(
        select(journal_meta.c.value).where(journal_meta.c.name == "schema_version")
    )
    if stored is None:
        raise JournalUnavailableError(
            "The database of the call journal has a table journal_meta that is not the journal's. "
            "Choose another database with ONESHOT_VOICE_JOURNAL or the journal argument."
        )
    return int(stored)


_MICRO = Decimal(1_000_000)


def to_micro(amount: Decimal) -> int:
    """Turn US dollars into whole micro-dollars, a begun one counted in full.

    Raises:
        ValueError: the amount is negative or not a number.
    """
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{amount} is not an amount of money")
    return int((amount * _MICRO).to_integral_value(ROUND_CEILING))


def to_dollars(micro: int) -> Decimal:
    """Turn whole micro-dollars into US dollars."""
    return Decimal(micro) / _MICRO


def to_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Write a value as JSON that both databases can store, whatever characters are in it."""
    return json.dumps(value, separators=(",", ":"))


def to_record(row: Row[Any]) -> CallRecord:
    """Read a row of `calls`."""
    fields = dict(row._mapping)  # noqa: SLF001 - the public name of a row's mapping
    del fields["forgotten_at"]
    fields["numbers"] = tuple(json.loads(fields["numbers"]))
    fields["request"] = json.loads(fields["request"])
    for name in ("quote", "job"):
        fields[name] = None if fields[name] is None else json.loads(fields[name])
    fields["reserved"] = to_dollars(fields["reserved"])
    fields["charged"] = None if fields["charged"] is None else to_dollars(fields["charged"])
    return CallRecord(**fields)
