"""The life of a call's row: every claim, step and reading, each inside a given transaction.

A function here gets a connection that is in a transaction, and the journal's clock; a writing one
may rely on being the only writer. A step names the owner and the state that it relies on in its
`WHERE`: a worker that comes late changes nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.call_states import ENDED, FOLLOWS, UNSETTLED, CallState
from langchain_oneshot_voice.journal import guards, spend
from langchain_oneshot_voice.journal.records import (
    CallRecord,
    Claim,
    Guard,
    IllegalMoveError,
    NewCall,
    SpendLimits,
)
from langchain_oneshot_voice.journal.schema import call_numbers, calls, record_columns, unsettled
from langchain_oneshot_voice.journal.workers import Worker

WRITES: Mapping[CallState, frozenset[str]] = {
    "quoted": frozenset({"offer", "approval_id", "request", "numbers"}),
    "asking": frozenset(),
    "placed": frozenset({"request_id", "placement"}),
    "done": frozenset({"job", "answered", "charged", "opt_out"}),
    "declined": frozenset({"error_code"}),
    "edited": frozenset({"edited_to"}),
    "refused": frozenset({"error_code"}),
    "unknown": frozenset({"error_code"}),
}
"""The columns that `move` may write with a step; `FOLLOWS` says which states it may follow.

Only `sign` takes a call to `signed`, since guards may not allow it.
"""

_DROPS: frozenset[CallState] = ENDED | {"refused", "unknown"}
"""States in which nobody works on the call."""

_ALSO: Mapping[CallState, Mapping[str, Any]] = {
    "placed": {"error_code": None},
    "refused": {"payment": None, "valid_before": None, "reserved": Decimal(0)},
}
"""What a step to a state writes besides."""

_STAMPS: Mapping[CallState, str] = {"signed": "signed_at", "placed": "placed_at"}
_FREE: Mapping[str, None] = {"owner": None, "worker": None}
_FRESH: Mapping[str, Any] = {
    column.name: Decimal(0) if column.name == "reserved" else None
    for column in record_columns
    if column.nullable or column.name == "reserved"
}
"""What a call has when nothing has happened to it yet."""

# Statements are built once: building one costs as much as running it.
_SELECT = select(*record_columns)
_BY_KEY = _SELECT.where(calls.c.call_key == bindparam("key"))
_BY_EITHER_KEY = _SELECT.where(calls.c.call_key.in_([bindparam("key"), bindparam("former")]))
_BY_REQUEST_ID = (
    _SELECT.where(
        calls.c.request_id == bindparam("request_id"),
        calls.c.account == bindparam("account"),
        calls.c.tenant == bindparam("tenant"),
        calls.c.base_url == bindparam("base_url"),
    )
    .order_by(calls.c.created_at.desc())
    .limit(1)
)
_INSERT = calls.insert()
_FROM = calls.update().where(
    calls.c.call_key == bindparam("key"), calls.c.state == bindparam("known_state")
)
_STEP = _FROM.where(calls.c.owner == bindparam("run"))
_INSERT_NUMBER = call_numbers.insert()
_ITS_NUMBERS = call_numbers.c.call_key == bindparam("key")
_DELETE_NUMBERS = call_numbers.delete().where(_ITS_NUMBERS)
_UPDATE_NUMBERS = call_numbers.update().where(_ITS_NUMBERS)


def claim(  # noqa: PLR0913 - the arguments of `CallJournal.claim`
    connection: Connection,
    now: float,
    worker: Worker,
    call: NewCall,
    *,
    owner: str,
    duplicate_window: float,
    answers_for: float | None,
    asked_at: float | None,
    former_key: str | None,
) -> Claim:
    """Decide who works on a call; see `CallJournal.claim`."""
    known = _known(connection, call, former_key)
    for key in (call.call_key, former_key or ""):
        worker.held.discard((key, owner))  # until it is granted
    if known is not None and known.state in ENDED:
        if _answers(known, now, answers_for, asked_at):
            return Claim("finished", known, now)
        _retire(connection, known)
        known = None
    if known is not None and known.owner != owner and worker.holds(connection, now, known):
        return Claim("held", known, now)
    if known is not None and known.state != "refused":
        return Claim("mine", _hold(connection, now, worker, known, owner), now)
    if duplicate := guards.find_duplicate(connection, now, call, duplicate_window):
        return Claim("duplicate", duplicate, now)
    if busy := guards.find_busy(connection, now, call):
        return Claim("number_busy", busy, now)
    return Claim("mine", _begin(connection, now, worker, call, known, owner), now)


def _known(connection: Connection, call: NewCall, former_key: str | None) -> CallRecord | None:
    """Return the call's record; the one under its former key only if there is none of its own."""
    keys = {"key": call.call_key, "former": former_key}
    found = {row.call_key: row for row in connection.execute(_BY_EITHER_KEY, keys)}
    row = found.get(call.call_key)
    if row is not None:
        return CallRecord(**row._mapping)  # noqa: SLF001 - its public name
    if former_key not in found:
        return None
    known = CallRecord(**found[former_key]._mapping)  # noqa: SLF001 - its public name
    # The key of 0.1.0 did not say payer, tenant and service.
    of_it = (known.account.lower(), known.tenant, known.base_url)
    return known if of_it == (call.account.lower(), call.tenant, call.base_url) else None


def take(
    connection: Connection, now: float, worker: Worker, call_key: str, owner: str
) -> CallRecord | None:
    """Work on a call that someone left unfinished."""
    known = read(connection, now, call_key)
    if known is None or known.owner != owner:
        worker.held.discard((call_key, owner))  # until it is granted
    if known is None or known.state in ENDED or known.state == "refused":
        return None
    if worker.holds(connection, now, known):
        return None
    return _hold(connection, now, worker, known, owner)


def move(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    to: CallState,
    columns: Mapping[str, Any],
) -> CallRecord | None:
    """Take a call to its next state, if it is the owner's and the step is legal."""
    known = read(connection, now, call_key)
    if known is None or known.owner != owner:
        return None
    if to == "placed" == known.state and columns.get("request_id") == known.request_id:
        return _write(connection, known, columns)
    _allow(known, to)
    return _step(connection, now, known, to, columns)


def sign(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    columns: Mapping[str, Any],
    limits: SpendLimits,
) -> CallRecord | Guard | None:
    """Store the signed bytes and reserve their amount, if every guard allows it."""
    known = read(connection, now, call_key)
    if known is None or known.owner != owner:
        return None
    _allow(known, "signed")
    amount, fee = columns["reserved"], columns["number_fee"]
    guard = guards.check(connection, now, known, amount, fee, limits)
    return guard or _step(connection, now, known, "signed", columns)


def holds(connection: Connection, now: float, call_key: str, owner: str) -> bool:
    """Tell whether a call is the owner's."""
    known = read(connection, now, call_key)
    return known is not None and known.owner == owner


def read(connection: Connection, _now: float, call_key: str) -> CallRecord | None:
    """Return the call of this key."""
    row = connection.execute(_BY_KEY, {"key": call_key}).first()
    return None if row is None else CallRecord(**row._mapping)  # noqa: SLF001 - its public name


def find(
    connection: Connection,
    _now: float,
    request_id: str,
    account: str,
    tenant: str,
    base_url: str,
) -> CallRecord | None:
    """Return the call that the service knows by this id; the latest, should there be several."""
    whose = {"account": account, "tenant": tenant, "base_url": base_url}
    row = connection.execute(_BY_REQUEST_ID, {"request_id": request_id, **whose}).first()
    return None if row is None else CallRecord(**row._mapping)  # noqa: SLF001 - its public name


def recent(connection: Connection, _now: float, limit: int, tenant: str | None) -> list[CallRecord]:
    """Return the latest calls, newest first."""
    query = _SELECT.order_by(calls.c.created_at.desc(), calls.c.call_key).limit(limit)
    if tenant is not None:
        query = query.where(calls.c.tenant == tenant)
    return [CallRecord(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its public name


def unfinished(
    connection: Connection, now: float, worker: Worker, wanted: Mapping[str, str | None]
) -> list[CallRecord]:
    """Return calls that may have cost money, have no end, and that no live worker has."""
    query = _SELECT.where(unsettled).order_by(calls.c.updated_at)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(calls.c[column] == value)
    found = [CallRecord(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its public name
    return [call for call in found if not worker.holds(connection, now, call)]


def spent(connection: Connection, now: float, account: str, tenant: str, seconds: float) -> Decimal:
    """Return the US dollars charged or reserved in the last `seconds`."""
    return spend.total(connection, account, tenant, now - seconds)


def _answers(
    known: CallRecord, now: float, answers_for: float | None, asked_at: float | None
) -> bool:
    """Tell whether an ended call still answers its key."""
    if answers_for is None or known.updated_at > now - answers_for:
        return True
    # The clock was set back when the run began after now: then the times can't be compared.
    return asked_at is not None and (known.updated_at >= asked_at or asked_at > now)


def _allow(known: CallRecord, to: CallState) -> None:
    if to not in FOLLOWS[known.state]:
        raise IllegalMoveError(known.call_key, known.state, to)


def _step(
    connection: Connection,
    now: float,
    known: CallRecord,
    to: CallState,
    columns: Mapping[str, Any],
) -> CallRecord | None:
    values = {**columns, **_ALSO.get(to, {}), "state": to, "updated_at": now}
    if to in _STAMPS:
        values[_STAMPS[to]] = now
    if to in _DROPS:
        values |= _FREE
    moved = _write(connection, known, values)
    if moved is None:
        return None
    if moved.numbers != known.numbers:
        connection.execute(_DELETE_NUMBERS, {"key": moved.call_key})
        _insert_numbers(connection, moved)
    elif (stamps := _number_stamps(moved)) != _number_stamps(known):
        connection.execute(_UPDATE_NUMBERS, {"key": moved.call_key, **stamps})
    spend.count(connection, known, moved)
    return moved


def _write(
    connection: Connection, known: CallRecord, values: Mapping[str, Any]
) -> CallRecord | None:
    terms = {"key": known.call_key, "known_state": known.state, "run": known.owner}
    written = connection.execute(_STEP, {**terms, **values})
    return replace(known, **_as_read(values)) if written.rowcount == 1 else None


def _as_read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they are when they are read back."""
    return {
        name: json.loads(json.dumps(value)) if isinstance(value, dict) else value
        for name, value in values.items()
    }


def _hold(
    connection: Connection, now: float, worker: Worker, known: CallRecord, owner: str
) -> CallRecord:
    terms = {"key": known.call_key, "known_state": known.state}
    connection.execute(_FROM, {**terms, "owner": owner, "worker": worker.name})
    return _held(connection, now, worker, replace(known, owner=owner, worker=worker.name))


def _begin(
    connection: Connection,
    now: float,
    worker: Worker,
    call: NewCall,
    refused: CallRecord | None,
    owner: str,
) -> CallRecord:
    """Begin a call, or a new attempt at a refused one."""
    values = {
        **_FRESH,
        **_as_read(asdict(call)),
        "state": "claimed",
        "attempt": 1,
        "owner": owner,
        "worker": worker.name,
        "created_at": now,
        "updated_at": now,
    }
    if refused is None:
        connection.execute(_INSERT, values)
    else:
        key = refused.call_key
        # The request has the call's name at the service, which stays; a price replaces the rest.
        request = refused.request or values["request"]
        values |= {"call_key": key, "attempt": refused.attempt + 1, "request": request}
        values["created_at"] = refused.created_at
        terms = {"key": key, "known_state": refused.state, "forgotten_at": None}
        connection.execute(_FROM, {**values, **terms})
        connection.execute(_DELETE_NUMBERS, {"key": key})
    begun = CallRecord(**values)
    _insert_numbers(connection, begun)
    return _held(connection, now, worker, begun)


def _held(connection: Connection, now: float, worker: Worker, call: CallRecord) -> CallRecord:
    worker.show_alive(connection, now)
    hold = (call.call_key, str(call.owner))
    worker.held.add(hold)
    worker.unreleased.discard(hold)
    return call


def _retire(connection: Connection, known: CallRecord) -> None:
    """Rename an ended call; its numbers and questions follow."""
    aside = f"{known.call_key}~{secrets.token_hex(8)}"
    terms = {"key": known.call_key, "known_state": known.state}
    connection.execute(_FROM, {**terms, "call_key": aside})


def _number_stamps(call: CallRecord) -> dict[str, float | None]:
    """Since when the call may be on its numbers' lines, and when it was counted for the day."""
    unsettled = call.state in UNSETTLED
    return {
        # A late acceptance starts the clock of the line again, not that of the day.
        "line_since": (call.placed_at or call.signed_at) if unsettled else None,
        "committed_at": spend.commitment(call) if unsettled or call.state == "done" else None,
    }


def _insert_numbers(connection: Connection, call: CallRecord) -> None:
    # A number named twice is one number.
    whose = {"call_key": call.call_key, "account": call.account, "tenant": call.tenant}
    row = {**whose, **_number_stamps(call)}
    if call.numbers:
        named = [{**row, "number": number} for number in dict.fromkeys(call.numbers)]
        connection.execute(_INSERT_NUMBER, named)
