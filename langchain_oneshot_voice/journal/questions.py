"""The questions to people about calls, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, bindparam, select

from langchain_oneshot_voice.journal import calls
from langchain_oneshot_voice.journal.records import AskedQuestion, CallRecord
from langchain_oneshot_voice.journal.schema import questions

_OF_CALL = (
    select(questions)
    .where(questions.c.call_key == bindparam("call_key"))
    .order_by(questions.c.number, questions.c.asked_at)
)
_OF_THREAD = (
    select(questions)
    .where(
        questions.c.question_id.in_(bindparam("question_ids", expanding=True)),
        questions.c.thread == bindparam("thread"),
    )
    .order_by(questions.c.asked_at, questions.c.number)
)
_IS_ASKED = select(questions.c.number).where(questions.c.question_id == bindparam("question_id"))
_INSERT = questions.insert()
_UPDATE = questions.update().where(questions.c.question_id == bindparam("id"))
_ANSWER = _UPDATE.where(questions.c.answered_at.is_(None))


def ask(
    connection: Connection, now: float, question: AskedQuestion, owner: str
) -> CallRecord | None:
    """Move the call to `asking` and record the question, unless it is recorded already."""
    record = calls.move(connection, now, question.call_key, owner, "asking", {})
    if record is None:
        return None
    if connection.execute(_IS_ASKED, {"question_id": question.question_id}).first() is None:
        connection.execute(_INSERT, asdict(replace(question, asked_at=now)))
    return record


def of_call(connection: Connection, _now: float, call_key: str) -> tuple[AskedQuestion, ...]:
    """Return the questions about a call, ordered by number."""
    rows = connection.execute(_OF_CALL, {"call_key": call_key})
    return tuple(AskedQuestion(**row._mapping) for row in rows)  # noqa: SLF001 - its public name


def of_thread(
    connection: Connection, _now: float, question_ids: Sequence[str], thread: str
) -> tuple[AskedQuestion, ...]:
    """Return those of the questions that were asked in the thread, oldest first."""
    terms = {"question_ids": tuple(question_ids), "thread": thread}
    rows = connection.execute(_OF_THREAD, terms)
    return tuple(AskedQuestion(**row._mapping) for row in rows)  # noqa: SLF001 - its public name


def answer(connection: Connection, now: float, question_id: str, decision: dict[str, Any]) -> bool:
    """Record the answer to a question; return `False` if it already has one."""
    terms = {"id": question_id, "answer": decision, "answered_at": now}
    return connection.execute(_ANSWER, terms).rowcount == 1


def note(
    connection: Connection,
    _now: float,
    question_id: str,
    bare_ok: bool | None,
    text: str | None,
) -> None:
    """Change how a question is asked again; a value of `None` is left as it is."""
    changes = {"bare_ok": bare_ok, "note": text}
    values = {name: value for name, value in changes.items() if value is not None}
    if values:
        connection.execute(_UPDATE, {"id": question_id, **values})
