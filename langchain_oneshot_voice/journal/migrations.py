"""Migrations: create the journal's tables, or bring them up to date.

Opening a journal migrates it in one transaction, under the lock of the writers, so processes that
start together migrate it once. A new database goes through the same steps as an old one. A journal
with a newer schema version is refused.

The steps are SQL and do not use `schema.py`: its tables change, but a released step never changes.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import Connection, Row, inspect, text

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.journal.records import JournalUnavailableError


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, inside the caller's transaction and under its lock.

    Raises:
        JournalUnavailableError: a newer version of this package wrote the journal, or the tables
            belong to another program.
    """
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise JournalUnavailableError(wording.journal_too_new(version, len(MIGRATIONS)))
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        step(connection)
        connection.execute(_SET_VERSION, {"version": str(number)})


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table("journal_meta"):
        return 0
    rows = connection.execute(_GET_VERSION).all()
    if not rows:
        raise JournalUnavailableError(wording.journal_meta_not_ours())
    stored = str(rows[0].value)  # of any type, if another program made the table
    if not _VERSION.fullmatch(stored):
        raise JournalUnavailableError(wording.journal_version_unreadable(stored))
    return int(stored)


_VERSION = re.compile("[1-9][0-9]{0,8}")
_GET_VERSION = text("SELECT value FROM journal_meta WHERE name = 'schema_version'")
_SET_VERSION = text("UPDATE journal_meta SET value = :version WHERE name = 'schema_version'")


def _run(connection: Connection, statements: Iterable[str]) -> None:
    double = {"sqlite": "DOUBLE", "postgresql": "DOUBLE PRECISION"}[connection.dialect.name]
    for statement in statements:
        connection.exec_driver_sql(statement.replace("DOUBLE", double))


# Step 1: version 0.1.0

_TABLES_1 = (
    # No IF NOT EXISTS: a table of another program with the same name must be an error.
    """
    CREATE TABLE calls (
        call_key TEXT NOT NULL,
        state TEXT NOT NULL,
        account TEXT NOT NULL,
        tenant TEXT NOT NULL,
        base_url TEXT NOT NULL,
        numbers TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        request TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        quote TEXT,
        quote_id TEXT,
        quote_expires_at DOUBLE,
        payment TEXT,
        valid_before DOUBLE,
        reserved BIGINT NOT NULL,
        charged BIGINT,
        request_id TEXT,
        receipt_id TEXT,
        job TEXT,
        answered BOOLEAN,
        error_code TEXT,
        lease_owner TEXT,
        lease_until DOUBLE,
        created_at DOUBLE NOT NULL,
        signed_at DOUBLE,
        placed_at DOUBLE,
        updated_at DOUBLE NOT NULL,
        forgotten_at DOUBLE,
        PRIMARY KEY (call_key)
    )
    """,
    """
    CREATE TABLE call_numbers (
        call_key TEXT NOT NULL,
        number TEXT NOT NULL,
        PRIMARY KEY (call_key, number),
        FOREIGN KEY(call_key) REFERENCES calls (call_key) ON DELETE CASCADE ON UPDATE CASCADE
    )
    """,
    """
    CREATE TABLE suppressions (
        number TEXT NOT NULL,
        reason TEXT NOT NULL,
        since DOUBLE NOT NULL,
        PRIMARY KEY (number)
    )
    """,
    """
    CREATE TABLE journal_meta (
        name TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (name)
    )
    """,
    "CREATE INDEX calls_by_fingerprint ON calls (fingerprint)",
    "CREATE INDEX calls_by_request_id ON calls (request_id)",
    "CREATE INDEX calls_by_state ON calls (state)",
    "CREATE INDEX calls_by_age ON calls (created_at)",
    "CREATE INDEX calls_by_spend ON calls (account, tenant, coalesce(signed_at, placed_at))",
    "CREATE INDEX calls_by_number ON call_numbers (number)",
)


def _create(connection: Connection) -> None:
    _run(connection, _TABLES_1)
    # The key of the hashes of forgotten numbers: without it nobody can guess a number by its hash.
    values = {"number_key": secrets.token_hex(32), "schema_version": "0"}
    insert = text("INSERT INTO journal_meta (name, value) VALUES (:name, :value)")
    connection.execute(insert, [{"name": name, "value": value} for name, value in values.items()])


# Step 2: workers instead of leases, questions on record, sums of the day's money

_RENAME_2 = (
    "DROP INDEX calls_by_fingerprint",
    "DROP INDEX calls_by_request_id",
    "DROP INDEX calls_by_state",
    "DROP INDEX calls_by_age",
    "DROP INDEX calls_by_spend",
    "DROP INDEX calls_by_number",
    "ALTER TABLE calls RENAME TO old_calls",
    "ALTER TABLE call_numbers RENAME TO old_call_numbers",
)
_RENAME_KEYS_2 = (  # PostgreSQL only: there the index of a primary key has a name
    "ALTER INDEX calls_pkey RENAME TO old_calls_pkey",
    "ALTER INDEX call_numbers_pkey RENAME TO old_call_numbers_pkey",
)
_TABLES_2 = (
    """
    CREATE TABLE calls (
        call_key TEXT NOT NULL,
        state TEXT NOT NULL,
        account TEXT NOT NULL,
        tenant TEXT NOT NULL,
        base_url TEXT NOT NULL,
        numbers TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        request TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        offer TEXT,
        approval_id TEXT,
        payment TEXT,
        valid_before DOUBLE,
        reserved BIGINT NOT NULL,
        charged BIGINT,
        number_fee BIGINT,
        request_id TEXT,
        placement TEXT,
        job TEXT,
        answered BOOLEAN,
        opt_out TEXT,
        error_code TEXT,
        edited_to TEXT,
        owner TEXT,
        worker TEXT,
        created_at DOUBLE NOT NULL,
        signed_at DOUBLE,
        placed_at DOUBLE,
        updated_at DOUBLE NOT NULL,
        forgotten_at DOUBLE,
        PRIMARY KEY (call_key)
    )
    """,
    """
    CREATE TABLE call_numbers (
        call_key TEXT NOT NULL,
        number TEXT NOT NULL,
        account TEXT NOT NULL,
        tenant TEXT NOT NULL,
        line_since DOUBLE,
        committed_at DOUBLE,
        PRIMARY KEY (call_key, number),
        FOREIGN KEY(call_key) REFERENCES calls (call_key) ON DELETE CASCADE ON UPDATE CASCADE
    )
    """,
    """
    CREATE TABLE questions (
        question_id TEXT NOT NULL,
        call_key TEXT NOT NULL,
        number INTEGER NOT NULL,
        thread TEXT NOT NULL,
        namespace TEXT NOT NULL,
        request TEXT NOT NULL,
        offer TEXT NOT NULL,
        price BIGINT NOT NULL,
        bare_ok BOOLEAN NOT NULL,
        note TEXT,
        answer TEXT,
        asked_at DOUBLE NOT NULL,
        answered_at DOUBLE,
        PRIMARY KEY (question_id),
        FOREIGN KEY(call_key) REFERENCES calls (call_key) ON DELETE CASCADE ON UPDATE CASCADE
    )
    """,
    """
    CREATE TABLE workers (
        worker TEXT NOT NULL,
        beat_at DOUBLE NOT NULL,
        lease DOUBLE NOT NULL,
        PRIMARY KEY (worker)
    )
    """,
    """
    CREATE TABLE spend_sums (
        account TEXT NOT NULL,
        tenant TEXT NOT NULL,
        seconds INTEGER NOT NULL,
        slot INTEGER NOT NULL,
        amount BIGINT NOT NULL,
        PRIMARY KEY (account, tenant, seconds, slot)
    )
    """,
)
_COPIED_2 = (
    "call_key, state, account, tenant, base_url, numbers, fingerprint, request, attempt, payment,"
    " valid_before, reserved, charged, request_id, job, answered, error_code, created_at,"
    " signed_at, placed_at, updated_at, forgotten_at"
)
_COPY_2 = (
    f"INSERT INTO calls ({_COPIED_2}) SELECT {_COPIED_2} FROM old_calls",  # noqa: S608 - constants
    """
    INSERT INTO call_numbers (call_key, number, account, tenant, line_since, committed_at)
    SELECT
        call_key,
        number,
        account,
        tenant,
        CASE WHEN state IN ('signed', 'placed', 'unknown')
            THEN coalesce(placed_at, signed_at) END,
        CASE WHEN state IN ('signed', 'placed', 'unknown', 'done')
            THEN coalesce(signed_at, placed_at) END
    FROM old_call_numbers JOIN old_calls USING (call_key)
    """,
)
_CONVERTED_2 = text(
    """
    SELECT call_key, quote, request_id, receipt_id FROM old_calls
    WHERE forgotten_at IS NULL AND (quote IS NOT NULL OR request_id IS NOT NULL)
        AND call_key > :after
    ORDER BY call_key LIMIT 1000
    """
)
_CONVERT_2 = text(
    "UPDATE calls SET offer = :offer, approval_id = :approval_id, placement = :placement"
    " WHERE call_key = :call_key"
)
_COSTS_2 = text(
    """
    SELECT account, tenant, coalesce(signed_at, placed_at),
        CASE WHEN charged > reserved THEN charged ELSE reserved END
    FROM old_calls
    WHERE state IN ('signed', 'placed', 'unknown', 'done')
        AND coalesce(signed_at, placed_at) IS NOT NULL
    """
)
_ADD_SUM_2 = text(
    "INSERT INTO spend_sums (account, tenant, seconds, slot, amount)"
    " VALUES (:account, :tenant, :seconds, :slot, :amount)"
)
_FINISH_2 = (
    "DROP TABLE old_call_numbers",
    "DROP TABLE old_calls",
    (
        "CREATE INDEX calls_by_fingerprint"
        " ON calls (fingerprint, account, tenant, base_url, updated_at)"
        " WHERE state IN ('done', 'placed', 'signed', 'unknown')"
    ),
    (
        "CREATE INDEX calls_unsettled ON calls (updated_at)"
        " WHERE state IN ('placed', 'signed', 'unknown')"
    ),
    (
        "CREATE INDEX numbers_by_line ON call_numbers (number, account, line_since)"
        " WHERE line_since IS NOT NULL"
    ),
    (
        "CREATE INDEX numbers_by_day ON call_numbers (number, account, tenant, committed_at)"
        " WHERE committed_at IS NOT NULL"
    ),
    "CREATE INDEX calls_by_spend ON calls (account, tenant, coalesce(signed_at, placed_at))",
    (
        "CREATE INDEX calls_by_number_fee ON calls (account, base_url, signed_at)"
        " WHERE number_fee IS NOT NULL"
    ),
    (
        "CREATE INDEX calls_to_forget ON calls (account, tenant, updated_at)"
        " WHERE state IN ('declined', 'done', 'edited', 'refused') AND forgotten_at IS NULL"
    ),
    (
        "CREATE INDEX calls_half_forgotten ON calls (account, tenant)"
        " WHERE forgotten_at IS NOT NULL AND fingerprint != ''"
    ),
    "CREATE INDEX calls_by_opt_out ON calls (updated_at) WHERE opt_out IS NOT NULL",
    "CREATE INDEX calls_by_request_id ON calls (request_id)",
    "CREATE INDEX calls_by_age ON calls (created_at)",
    "CREATE INDEX questions_by_call ON questions (call_key)",
)


def _replace_leases(connection: Connection) -> None:
    _run(connection, _RENAME_2)
    if connection.dialect.name == "postgresql":
        _run(connection, _RENAME_KEYS_2)
    _run(connection, _TABLES_2)
    _run(connection, _COPY_2)
    after = ""
    while rows := connection.execute(_CONVERTED_2, {"after": after}).all():
        connection.execute(_CONVERT_2, [_converted_2(row) for row in rows])
        after = rows[-1].call_key
    sums: defaultdict[tuple[str, str, int, int], int] = defaultdict(int)
    for account, tenant, committed_at, cost in connection.execute(_COSTS_2):
        for seconds in (60, 3600):
            sums[account, tenant, seconds, int(committed_at // seconds)] += cost
    if sums:
        names = ("account", "tenant", "seconds", "slot", "amount")
        added = [dict(zip(names, (*key, amount), strict=True)) for key, amount in sums.items()]
        connection.execute(_ADD_SUM_2, added)
    _run(connection, _FINISH_2)


def _converted_2(row: Row[Any]) -> dict[str, str | None]:
    quote = json.loads(row.quote) if row.quote else {}
    sources = [offer["source"] for offer in quote.get("offers", ()) if not offer.get("over")]
    placement = {"request_id": row.request_id, "receipt_id": row.receipt_id}
    return {
        "call_key": row.call_key,
        "offer": json.dumps(sources[-1], separators=(",", ":")) if sources else None,
        "approval_id": quote.get("approval_id"),
        "placement": json.dumps(placement, separators=(",", ":")) if row.request_id else None,
    }


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create, _replace_leases)
"""The step at index `n` migrates from version `n` to `n + 1`. A released step never changes."""
