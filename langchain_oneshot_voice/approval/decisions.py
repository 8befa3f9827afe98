"""The possible answers of a person, and their parser. An unclear answer never approves a call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)

    question: str | None = None
    """The id of the question. Optional; if given, it must match."""


class Approve(_Answer):
    """Make the call at this price."""

    type: Literal["approve"] = "approve"


class EditedCall(BaseModel):
    """The tool call that the reviewer wants instead."""

    model_config = ConfigDict(frozen=True)

    name: str | None = None
    """The tool's name. Optional; it can't be changed."""
    args: VoiceCallInput


class Edit(_Answer):
    """Make this call instead. It gets a new quote, and a new question if it costs more."""

    type: Literal["edit"] = "edit"
    edited_action: EditedCall


class Reject(_Answer):
    """Do not make the call. The model receives the instruction not to retry."""

    type: Literal["reject"] = "reject"
    message: str | None = None


class Respond(_Answer):
    """Do not make the call. The model reads this message instead."""

    type: Literal["respond"] = "respond"
    message: str


Decision = Annotated[Approve | Edit | Reject | Respond, Field(discriminator="type")]
"""An answer of a person."""

ApprovalFunction = Callable[[VoiceCallInput, VoiceCallQuote], Awaitable[Any] | Any]
"""An application's function that asks a person; sync or async.

Returns a decision: one of the types above, or a mapping with the same fields. `True` and
`"approve"` approve, `False` and `"reject"` reject.
"""

Approval = Literal["never", "interrupt"] | ApprovalFunction
"""Who is asked: nobody, a person through the graph, or a function."""

_DECISION: TypeAdapter[Approve | Edit | Reject | Respond] = TypeAdapter(Decision)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An answer that is not a valid decision on this question.

    Attributes:
        why: what is wrong with the answer; a short text without a full stop.
    """

    why: str

    def note(self, question_id: str) -> str:
        """Return the note for the person when the question is asked again."""
        return (
            f"The last answer was not used: {self.why}. Answer with approve, edit, reject or"
            f" respond, such as Command(resume={{'{question_id}': {{'type': 'approve'}}}})."
        )


def read_decision(
    answer: object, *, tool_name: str | None = None, question_id: str | None = None
) -> Approve | Edit | Reject | Respond | Unreadable:
    """Parse an answer from a person or from the application's function.

    Args:
        answer: a decision, a mapping with its fields, `{"decisions": [decision]}`, a list with one
            decision, a bool, or the type of a decision as a string.
        tool_name: the only tool name that an edit may have.
        question_id: the id of the question that was asked.
    """
    decision = _parse(answer)
    if isinstance(decision, Unreadable):
        return decision
    if decision.question is not None and decision.question != question_id:
        return Unreadable(f"it names another question ({decision.question[:40]!r})")
    if isinstance(decision, Edit) and decision.edited_action.name not in {None, tool_name}:
        return Unreadable(f"an edit can't change the tool, whose name is {tool_name!r}")
    return decision


def stored(decision: Approve | Edit | Reject | Respond) -> dict[str, Any]:
    """Return the decision as JSON for the journal; `from_store` parses it."""
    return decision.model_dump(mode="json", exclude_none=True)


def from_store(answer: Mapping[str, Any]) -> Approve | Edit | Reject | Respond:
    """Return the decision from the JSON in the journal."""
    return _DECISION.validate_python(answer)


def decision_schema(tool_name: str) -> dict[str, Any]:
    """Return the JSON schema of a valid answer, for review screens."""
    schema: dict[str, Any] = json.loads(_decision_schema_text())
    schema["$defs"]["EditedCall"]["properties"]["name"] = {"const": tool_name, "type": "string"}
    return schema


@cache
def _decision_schema_text() -> str:
    # Pydantic needs ten milliseconds to build the schema, and each question carries it. The cache
    # holds text and not a dictionary, so that each question gets its own copy to change.
    return json.dumps(_DECISION.json_schema())


def _parse(answer: object) -> Approve | Edit | Reject | Respond | Unreadable:
    if isinstance(answer, Approve | Edit | Reject | Respond):
        return answer
    if isinstance(answer, bool):
        return Approve() if answer else Reject()
    if isinstance(answer, Mapping) and "decisions" in answer:
        answer = answer["decisions"]
    if isinstance(answer, list):
        if len(answer) != 1:
            return Unreadable(f"{len(answer)} decisions came for one question")
        answer = answer[0]
    if isinstance(answer, str):
        answer = {"type": answer}
    try:
        return _DECISION.validate_python(answer)
    except (ValidationError, RecursionError) as error:
        return Unreadable(f"it is not a valid decision ({_problems(error)})")


def _problems(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    found = (problem["msg"] for problem in error.errors(include_input=False, include_url=False))
    return "; ".join(dict.fromkeys(found))[:400]
