"""The life of a call's row: every claim, step and reading, each inside a given transaction.

A function here gets a connection that is in a transaction, and the journal's clock; a writing one
may rely on being the only writer. It checks first and writes last, and each write names what it
relies on (whose lease, which state), so that a write that should not happen changes no row.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Update, and_, bindparam, or_, select

from langchain_oneshot_voice.journal import guards
from langchain_oneshot_voice.journal.records import (
    CallRecord,
    CallState,
    Claim,
    IllegalMoveError,
    LeaseLost,
    NewCall,
    SpendLimits,
)
from langchain_oneshot_voice.journal.schema import (
    call_numbers,
    calls,
    committed_at,
    to_dollars,
    to_json,
    to_record,
)

_FROM: Mapping[CallState, frozenset[CallState]] = {
    "claimed": frozenset({"refused"}),
    "quoted": frozenset({"claimed", "quoted"}),
    "signed": frozenset({"claimed", "quoted"}),
    # A service may place a call at the first leg already; credits, for one, need no signature.
    "placed": frozenset({"claimed", "quoted", "signed", "unknown"}),
    "done": frozenset({"placed"}),
    "refused": frozenset({"claimed", "quoted", "signed", "unknown"}),
    "unknown": frozenset({"signed", "unknown"}),
}
"""What each state may follow."""

_LEAVES: frozenset[CallState] = frozenset({"done", "refused", "unknown"})
"""States in which there is nothing to do for whoever works on the call."""

_NO_LEASE: Mapping[str, None] = {"lease_owner": None, "lease_until": None}

_FRESH: Mapping[str, Any] = {
    column.name: 0 if column.name == "reserved" else None
    for column in calls.columns
    if column.nullable or column.name == "reserved"
}
"""What a call has when nothing has happened to it yet."""

# Statements are built once: building one costs as much as running it.
_BY_KEY = select(calls).where(calls.c.call_key == bindparam("key"))
_BY_REQUEST_ID = (
    select(calls)
    .where(calls.c.request_id == bindparam("request_id"))
    .order_by(calls.c.created_at.desc())
    .limit(1)
)
_UPDATE = calls.update().where(calls.c.call_key == bindparam("key"))
_UPDATE_OWNED = _UPDATE.where(calls.c.lease_owner == bindparam("owner"))
_MOVE: Mapping[CallState, Update] = {
    state: _UPDATE_OWNED.where(calls.c.state.in_(prior)) for state, prior in _FROM.items()
}
_INSERT = calls.insert()
_INSERT_NUMBER = call_numbers.insert()
_DELETE_NUMBERS = call_numbers.delete().where(call_numbers.c.call_key == bindparam("key"))


def claim(
    connection: Connection,
    now: float,
    call: NewCall,
    *,
    owner: str,
    lease: float,
    duplicate_window: float,
    answers_for: float | None,
) -> Claim:
    """Decide who works on a call; see `CallJournal.claim`."""
    known = read(connection, call.call_key)
    if known is not None and known.state == "done":
        if answers_for is None or known.updated_at > now - answers_for:
            return Claim("finished", known)
        _retire(connection, call.call_key)
        known = None
    if known is not None and _held(known, now) and known.lease_owner != owner:
        return Claim("held", known)
    if known is None or known.state == "refused":
        duplicate = guards.find_duplicate(connection, now, call, duplicate_window)
        if duplicate is not None:
            return Claim("duplicate", duplicate)
        busy = guards.find_busy(connection, now, call)
        if busy is not None:
            return Claim("number_busy", busy)
        _begin(connection, now, call, attempt=1 if known is None else known.attempt + 1)
    _lease(connection, call.call_key, owner, now + lease)
    return Claim("mine", _known(connection, call.call_key))


def take(
    connection: Connection, now: float, call_key: str, owner: str, lease: float
) -> CallRecord | None:
    """Lease a call that someone left unfinished."""
    known = read(connection, call_key)
    if known is None or known.state in ("done", "refused") or _held(known, now):
        return None
    _lease(connection, call_key, owner, now + lease)
    return _known(connection, call_key)


def renew(connection: Connection, now: float, call_key: str, owner: str, lease: float) -> None:
    """Move the end of the owner's lease."""
    renewed = connection.execute(
        _UPDATE_OWNED, {"key": call_key, "owner": owner, "lease_until": now + lease}
    )
    if renewed.rowcount != 1:
        raise LeaseLost(call_key, owner)


def release(connection: Connection, call_key: str, owner: str) -> None:
    """Drop the owner's lease, if there is one."""
    connection.execute(_UPDATE_OWNED, {"key": call_key, "owner": owner, **_NO_LEASE})


def move(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    state: CallState,
    values: Mapping[str, Any],
) -> CallRecord:
    """Take a call to its next state, if the lease is the owner's and the step is legal."""
    lease = _NO_LEASE if state in _LEAVES else {}
    terms = {"key": call_key, "owner": owner, "state": state, "updated_at": now}
    moved = connection.execute(_MOVE[state], {**terms, **values, **lease})
    if moved.rowcount != 1:
        raise _why_not(connection, call_key, owner, state)
    return _known(connection, call_key)


def quote(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    values: Mapping[str, Any],
    numbers: tuple[str, ...] | None,
) -> CallRecord:
    """Store a quote, and the numbers that it is for where they have changed."""
    if numbers is None:
        return move(connection, now, call_key, owner, "quoted", values)
    named = {**values, "numbers": to_json(numbers)}
    known = move(connection, now, call_key, owner, "quoted", named)
    _name_numbers(connection, call_key, numbers)
    return known


def sign(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    values: Mapping[str, Any],
    limits: SpendLimits,
) -> CallRecord:
    """Store the signed bytes and reserve their amount, if no guard says no."""
    known = read(connection, call_key)
    if known is None or known.lease_owner != owner or known.state not in _FROM["signed"]:
        raise _why_not(connection, call_key, owner, "signed")
    guards.check(connection, now, known, values["reserved"], limits)
    return move(connection, now, call_key, owner, "signed", {**values, "signed_at": now})


def place(
    connection: Connection,
    now: float,
    call_key: str,
    owner: str,
    request_id: str,
    receipt_id: str | None,
) -> CallRecord:
    """Store the service's id of the call; a second time with the same id changes nothing else."""
    values: dict[str, Any] = {"request_id": request_id, "error_code": None}
    if receipt_id is not None:
        values["receipt_id"] = receipt_id
    try:
        return move(connection, now, call_key, owner, "placed", {**values, "placed_at": now})
    except IllegalMoveError:
        known = _known(connection, call_key)
        if known.state != "placed" or known.request_id != request_id:
            raise
    connection.execute(_UPDATE_OWNED, {"key": call_key, "owner": owner, **values})
    return _known(connection, call_key)


def read(connection: Connection, call_key: str) -> CallRecord | None:
    """The call of this key."""
    row = connection.execute(_BY_KEY, {"key": call_key}).first()
    return None if row is None else to_record(row)


def find(connection: Connection, request_id: str) -> CallRecord | None:
    """The call that the service knows by this id; the latest, should there be several."""
    row = connection.execute(_BY_REQUEST_ID, {"request_id": request_id}).first()
    return None if row is None else to_record(row)


def recent(connection: Connection, limit: int, tenant: str | None) -> list[CallRecord]:
    """The latest calls, newest first."""
    query = select(calls).order_by(calls.c.created_at.desc(), calls.c.call_key).limit(limit)
    if tenant is not None:
        query = query.where(calls.c.tenant == tenant)
    return [to_record(row) for row in connection.execute(query)]


def unfinished(
    connection: Connection, now: float, account: str | None, base_url: str | None
) -> list[CallRecord]:
    """Calls that may have cost money, have no outcome, and that nobody works on."""
    free = or_(calls.c.lease_owner.is_(None), calls.c.lease_until <= now)
    query = select(calls).where(calls.c.state.in_(guards.UNSETTLED), free)
    if account is not None:
        query = query.where(calls.c.account == account)
    if base_url is not None:
        query = query.where(calls.c.base_url == base_url)
    return [to_record(row) for row in connection.execute(query.order_by(calls.c.updated_at))]


def spent(connection: Connection, account: str, tenant: str, since: float) -> Decimal:
    """US dollars charged or reserved since then."""
    return to_dollars(guards.total_spent(connection, account, tenant, since))


def forget(connection: Connection, now: float, older_than: float) -> int:
    """Scrub calls that ended long enough ago; what a daily limit needs stays for the day."""
    scrubbed = connection.execute(
        calls.update()
        .where(
            calls.c.state.in_(("done", "refused")),
            calls.c.forgotten_at.is_(None),
            calls.c.updated_at < now - older_than,
        )
        .values(
            numbers="[]",
            request="{}",
            quote=None,
            quote_id=None,
            payment=None,
            job=None,
            forgotten_at=now,
        )
    )
    forgotten = calls.c.forgotten_at.is_not(None)
    counted = and_(forgotten, calls.c.state == "done", committed_at > now - guards.DAY_SECONDS)
    past = and_(
        forgotten, or_(calls.c.state == "refused", committed_at <= now - guards.DAY_SECONDS)
    )
    connection.execute(
        call_numbers.delete().where(
            call_numbers.c.call_key.in_(select(calls.c.call_key).where(past))
        )
    )
    connection.execute(calls.update().where(past).values(fingerprint=""))
    named = connection.execute(
        select(call_numbers.c.number)
        .distinct()
        .join(calls, calls.c.call_key == call_numbers.c.call_key)
        .where(counted, call_numbers.c.number.not_like("#%"))
    ).scalars()
    for number in named.all():
        connection.execute(
            call_numbers.update()
            .where(
                call_numbers.c.number == number,
                call_numbers.c.call_key.in_(select(calls.c.call_key).where(counted)),
            )
            .values(number=guards.number_tag(connection, number))
        )
    return scrubbed.rowcount


def _held(known: CallRecord, now: float) -> bool:
    return known.lease_until is not None and known.lease_until > now


def _known(connection: Connection, call_key: str) -> CallRecord:
    return to_record(connection.execute(_BY_KEY, {"key": call_key}).one())


def _why_not(
    connection: Connection, call_key: str, owner: str, state: CallState
) -> LeaseLost | IllegalMoveError:
    known = read(connection, call_key)
    if known is None or known.lease_owner != owner:
        return LeaseLost(call_key, owner)
    return IllegalMoveError(call_key, known.state, state)


def _lease(connection: Connection, call_key: str, owner: str, until: float) -> None:
    terms = {"key": call_key, "lease_owner": owner, "lease_until": until}
    connection.execute(_UPDATE, terms)


def _retire(connection: Connection, call_key: str) -> None:
    aside = f"{call_key}~{secrets.token_hex(8)}"
    connection.execute(_UPDATE, {"key": call_key, "call_key": aside})


def _begin(connection: Connection, now: float, call: NewCall, *, attempt: int) -> None:
    values = {
        **_FRESH,
        "state": "claimed",
        "account": call.account,
        "tenant": call.tenant,
        "base_url": call.base_url,
        "numbers": to_json(call.numbers),
        "fingerprint": call.fingerprint,
        "request": to_json(call.request),
        "attempt": attempt,
        "updated_at": now,
    }
    if attempt == 1:
        new = {"call_key": call.call_key, "created_at": now}
        connection.execute(_INSERT, {**new, **values})
    else:
        connection.execute(_UPDATE, {"key": call.call_key, **values})
    _name_numbers(connection, call.call_key, call.numbers)


def _name_numbers(connection: Connection, call_key: str, numbers: tuple[str, ...]) -> None:
    connection.execute(_DELETE_NUMBERS, {"key": call_key})
    # A number named twice is one number.
    named = [{"call_key": call_key, "number": number} for number in dict.fromkeys(numbers)]
    if named:
        connection.execute(_INSERT_NUMBER, named)
