"""What a person can answer, and how an answer is read. An unclear answer is never a yes."""

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
    """The id of the question that is answered; if given, it has to match."""


class Approve(_Answer):
    """Make the call at this price."""

    type: Literal["approve"] = "approve"


class EditedCall(BaseModel):
    """A tool call as the reviewer wants it."""

    model_config = ConfigDict(frozen=True)

    name: str | None = None
    """The tool's own name."""
    args: VoiceCallInput


class Edit(_Answer):
    """Make this call instead. It is quoted anew, and asked about again if it is dearer."""

    type: Literal["edit"] = "edit"
    edited_action: EditedCall


class Reject(_Answer):
    """Do not make the call. The model is told not to try again."""

    type: Literal["reject"] = "reject"
    message: str | None = None


class Respond(_Answer):
    """Do not make the call. The model reads this message instead."""

    type: Literal["respond"] = "respond"
    message: str


Decision = Annotated[Approve | Edit | Reject | Respond, Field(discriminator="type")]
"""What a person may answer."""

ApprovalFunction = Callable[[VoiceCallInput, VoiceCallQuote], Awaitable[Any] | Any]
"""Asks a person in the application's own way; sync or async.

Returns a decision, as one of the types above or as a mapping of the same shape. `True` and
`"approve"` approve, `False` and `"reject"` reject.
"""

Approval = Literal["never", "interrupt"] | ApprovalFunction
"""Who is asked: nobody, the person behind a graph, or a function."""

_DECISION: TypeAdapter[Approve | Edit | Reject | Respond] = TypeAdapter(Decision)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An answer that is no decision on this question.

    Attributes:
        why: what is wrong with it, in a few words without a full stop.
    """

    why: str

    def note(self, question_id: str) -> str:
        """What to tell the person when the question is asked again."""
        return (
            f"The last answer was not used: {self.why}. Answer with approve, edit, reject or"
            f" respond, such as Command(resume={{'{question_id}': {{'type': 'approve'}}}})."
        )


def read_decision(
    answer: object, *, tool_name: str | None = None, question_id: str | None = None
) -> Approve | Edit | Reject | Respond | Unreadable:
    """Read what a person, or the application in their place, answered.

    Args:
        answer: a decision, a mapping of its shape, `{"decisions": [decision]}`, a list of one,
            a bool, or a decision's type as a string.
        tool_name: the name that an edit may give.
        question_id: the question that the answer came to.
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
    """The decision as JSON for the journal; `from_store` reads it back."""
    return decision.model_dump(mode="json", exclude_none=True)


def from_store(answer: Mapping[str, Any]) -> Approve | Edit | Reject | Respond:
    """The decision that was stored."""
    return _DECISION.validate_python(answer)


def decision_schema(tool_name: str) -> dict[str, Any]:
    """JSON schema of what may be answered, for review screens."""
    schema: dict[str, Any] = json.loads(_decision_schema_text())
    schema["$defs"]["EditedCall"]["properties"]["name"] = {"const": tool_name, "type": "string"}
    return schema


@cache
def _decision_schema_text() -> str:
    # Pydantic needs ten milliseconds to build a schema, and each question carries this one. The
    # text is kept, not the dictionary: each question gets one of its own to change.
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
    except (ValidationError, RecursionError) as wrong:
        return Unreadable(f"it is no decision ({_problems(wrong)})")


def _problems(wrong: ValidationError | RecursionError) -> str:
    if isinstance(wrong, RecursionError):
        return "nested too deeply"
    found = (problem["msg"] for problem in wrong.errors(include_input=False, include_url=False))
    return "; ".join(dict.fromkeys(found))[:400]
