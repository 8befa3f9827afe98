"""The row of a call: claims, steps and reads. The caller supplies the transaction.

Each function gets a connection with an open transaction, and the journal's time. In a writing
transaction there is no other writer. The `WHERE` of a step contains the expected owner and state,
so a worker that lost the call changes nothing.
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
"""The columns that `move` may write, by new state; `FOLLOWS` lists the legal steps.

`signed` is missing: only `sign`, which checks the guards, moves a call there.
"""

_OWNERLESS: frozenset[CallState] = ENDED | {"refused", "unknown"}
"""States without an owner."""

_ALWAYS_WRITTEN: Mapping[CallState, Mapping[str, Any]] = {
    "placed": {"error_code": None},
    "refused": {"payment": None, "valid_before": None, "reserved": Decimal(0)},
}
"""Values that a step to a state always writes."""

_STAMPS: Mapping[CallState, str] = {"signed": "signed_at", "placed": "placed_at"}
_NO_OWNER: Mapping[str, None] = {"owner": None, "worker": None}
_INITIAL: Mapping[str, Any] = {
    column.name: Decimal(0) if column.name == "reserved" else None
    for column in record_columns
    if column.nullable or column.name == "reserved"
}
"""The values of the optional columns in a new attempt."""

# Statements are built once, because building one costs as much as running it.
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
_UPDATE_IN_STATE = calls.update().where(
    calls.c.call_key == bindparam("key"), calls.c.state == bindparam("known_state")
)
_UPDATE_IF_OWNED = _UPDATE_IN_STATE.where(calls.c.owner == bindparam("run"))
_INSERT_NUMBER = call_numbers.insert()
_OF_CALL = call_numbers.c.call_key == bindparam("key")
_DELETE_NUMBERS = call_numbers.delete().where(_OF_CALL)
_UPDATE_NUMBERS = call_numbers.update().where(_OF_CALL)


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
    known = _find_known(connection, call, former_key)
    for key in (call.call_key, former_key or ""):
        worker.held.discard((key, owner))  # added again if the claim is granted
    if known is not None and known.state in ENDED:
        if _still_answers(known, now, answers_for, asked_at):
            return Claim("finished", known, now)
        # The end is too old to answer: keep it under another key, and start a new call.
        _retire(connection, known)
        known = None
    if known is not None and known.owner != owner and worker.holds(connection, now, known):
        return Claim("held", known, now)
    if known is not None and known.state != "refused":
        # The call passed the guards when it began, so it is continued where it stopped.
        return Claim("mine", _take_over(connection, now, worker, known, owner), now)
    if duplicate := guards.find_duplicate(connection, now, call, duplicate_window):
        return Claim("duplicate", duplicate, now)
    if busy := guards.find_busy(connection, now, call):
        return Claim("number_busy", busy, now)
    return Claim("mine", _begin(connection, now, worker, call, known, owner), now)


def _find_known(connection: Connection, call: NewCall, former_key: str | None) -> CallRecord | None:
    """Return the record under the call's key, else the record under its former key."""
    keys = {"key": call.call_key, "former": former_key}
    found = {row.call_key: row for row in connection.execute(_BY_EITHER_KEY, keys)}
    row = found.get(call.call_key)
    if row is not None:
        return CallRecord(**row._mapping)  # noqa: SLF001 - its public name
    if former_key not in found:
        return None
    known = CallRecord(**found[former_key]._mapping)  # noqa: SLF001 - its public name
    # A key of version 0.1.0 does not contain payer, tenant and service, so compare them here.
    scope = (known.account.lower(), known.tenant, known.base_url)
    return known if scope == (call.account.lower(), call.tenant, call.base_url) else None


def take(
    connection: Connection, now: float, worker: Worker, call_key: str, owner: str
) -> CallRecord | None:
    """Take over a call that another run left unfinished."""
    known = read(connection, now, call_key)
    if known is None or known.owner != owner:
        worker.held.discard((call_key, owner))  # added again if the call is granted
    if known is None or known.state in ENDED or known.state == "refused":
        return None
    if worker.holds(connection, now, known):
        return None
    return _take_over(connection, now, worker, known, owner)


def move(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    to: CallState,
    columns: Mapping[str, Any],
) -> CallRecord | None:
    """Move a call to its next state, if the owner holds it and the step is legal."""
    known = read(connection, now, call_key)
    if known is None or known.owner != owner:
        return None
    # The service answered again for a call that it had accepted: its state and times stay.
    if to == "placed" == known.state and columns.get("request_id") == known.request_id:
        return _write(connection, known, columns)
    _require_legal(known, to)
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
    _require_legal(known, "signed")
    amount, fee = columns["reserved"], columns["number_fee"]
    guard = guards.check(connection, now, known, amount, fee, limits)
    return guard or _step(connection, now, known, "signed", columns)


def holds(connection: Connection, now: float, call_key: str, owner: str) -> bool:
    """Return whether the call belongs to the owner."""
    known = read(connection, now, call_key)
    return known is not None and known.owner == owner


def read(connection: Connection, _now: float, call_key: str) -> CallRecord | None:
    """Return the call with this key."""
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
    """Return the call with this id at the service; the latest one if there are several."""
    scope = {"account": account, "tenant": tenant, "base_url": base_url}
    row = connection.execute(_BY_REQUEST_ID, {"request_id": request_id, **scope}).first()
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
    """Return calls that may have cost money, have not ended, and have no live worker."""
    query = _SELECT.where(unsettled).order_by(calls.c.updated_at)
    for column, value in wanted.items():
        if value is not None:
            query = query.where(calls.c[column] == value)
    found = [CallRecord(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - its public name
    return [call for call in found if not worker.holds(connection, now, call)]


def spent(connection: Connection, now: float, account: str, tenant: str, seconds: float) -> Decimal:
    """Return the US dollars charged or reserved in the last `seconds`."""
    return spend.total(connection, account, tenant, now - seconds)


def _still_answers(
    known: CallRecord, now: float, answers_for: float | None, asked_at: float | None
) -> bool:
    """Return whether an ended call still answers its key."""
    if answers_for is None or known.updated_at > now - answers_for:
        return True
    # A run that began after `now` means that the clock was set back: the times can't be compared,
    # so the recorded end answers.
    return asked_at is not None and (known.updated_at >= asked_at or asked_at > now)


def _require_legal(known: CallRecord, to: CallState) -> None:
    if to not in FOLLOWS[known.state]:
        raise IllegalMoveError(known.call_key, known.state, to)


def _step(
    connection: Connection,
    now: float,
    known: CallRecord,
    to: CallState,
    columns: Mapping[str, Any],
) -> CallRecord | None:
    values = {**columns, **_ALWAYS_WRITTEN.get(to, {}), "state": to, "updated_at": now}
    if to in _STAMPS:
        values[_STAMPS[to]] = now
    if to in _OWNERLESS:
        values |= _NO_OWNER
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
    written = connection.execute(_UPDATE_IF_OWNED, {**terms, **values})
    return replace(known, **_as_read(values)) if written.rowcount == 1 else None


def _as_read(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values as a later read would return them, JSON included."""
    return {
        name: json.loads(json.dumps(value)) if isinstance(value, dict) else value
        for name, value in values.items()
    }


def _take_over(
    connection: Connection, now: float, worker: Worker, known: CallRecord, owner: str
) -> CallRecord:
    terms = {"key": known.call_key, "known_state": known.state}
    connection.execute(_UPDATE_IN_STATE, {**terms, "owner": owner, "worker": worker.name})
    return _mark_held(connection, now, worker, replace(known, owner=owner, worker=worker.name))


def _begin(
    connection: Connection,
    now: float,
    worker: Worker,
    call: NewCall,
    refused: CallRecord | None,
    owner: str,
) -> CallRecord:
    """Insert a new call, or start a new attempt at a refused one."""
    values = {
        **_INITIAL,
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
        # Keep the request: it contains the id under which the service knows the call. The next
        # quote replaces the rest.
        request = refused.request or values["request"]
        values |= {"call_key": key, "attempt": refused.attempt + 1, "request": request}
        values["created_at"] = refused.created_at
        terms = {"key": key, "known_state": refused.state, "forgotten_at": None}
        connection.execute(_UPDATE_IN_STATE, {**values, **terms})
        connection.execute(_DELETE_NUMBERS, {"key": key})
    begun = CallRecord(**values)
    _insert_numbers(connection, begun)
    return _mark_held(connection, now, worker, begun)


def _mark_held(connection: Connection, now: float, worker: Worker, call: CallRecord) -> CallRecord:
    worker.beat_if_due(connection, now)
    held = (call.call_key, str(call.owner))
    worker.held.add(held)
    worker.unreleased.discard(held)
    return call


def _retire(connection: Connection, known: CallRecord) -> None:
    """Rename the key of an ended call; foreign keys rename it in its numbers and questions too."""
    retired_key = f"{known.call_key}~{secrets.token_hex(8)}"
    terms = {"key": known.call_key, "known_state": known.state}
    connection.execute(_UPDATE_IN_STATE, {**terms, "call_key": retired_key})


def _number_stamps(call: CallRecord) -> dict[str, float | None]:
    """Return when the call's line may have become busy, and when it was counted for the day."""
    unsettled = call.state in UNSETTLED
    return {
        # If the service accepts the call late, the line is busy from then on. The day's count keeps
        # the time of the signature.
        "line_since": (call.placed_at or call.signed_at) if unsettled else None,
        "committed_at": spend.commitment(call) if unsettled or call.state == "done" else None,
    }


def _insert_numbers(connection: Connection, call: CallRecord) -> None:
    scope = {"call_key": call.call_key, "account": call.account, "tenant": call.tenant}
    row = {**scope, **_number_stamps(call)}
    if call.numbers:
        # The key and the number are the primary key, so a repeated number is inserted once.
        rows = [{**row, "number": number} for number in dict.fromkeys(call.numbers)]
        connection.execute(_INSERT_NUMBER, rows)
