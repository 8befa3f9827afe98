"""Asking a person, with the price in front of them, before anything is paid.

Either a graph is interrupted, in the shape of LangChain's own per-call approvals (a
`ToolApprovalRequest` with the quote beside it, answered by one decision), or a function of the
application's is asked. What the answer means for the call is the business of `lifecycle/`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from langchain_oneshot_voice import wording
from langchain_oneshot_voice.engine import call_user
from langchain_oneshot_voice.schemas import VoiceCallInput, VoiceCallQuote

TOOL_NAME = "voice_call"

_CHECKPOINTER = "__pregel_checkpointer"
"""Where LangGraph keeps the checkpointer that an interrupt needs."""

_INSIDE_A_GRAPH = "__pregel_"
"""How the names begin under which LangGraph keeps what belongs to a running graph."""


class Approve(BaseModel):
    """Go ahead at this price."""

    model_config = ConfigDict(frozen=True)

    type: Literal["approve"] = "approve"


class EditedCall(BaseModel):
    """A tool call as the reviewer wants it."""

    model_config = ConfigDict(frozen=True)

    name: Literal["voice_call"] = "voice_call"
    args: VoiceCallInput


class Edit(BaseModel):
    """Make this call instead. It is quoted anew, and asked about again when it is dearer."""

    model_config = ConfigDict(frozen=True)

    type: Literal["edit"] = "edit"
    edited_action: EditedCall


class Reject(BaseModel):
    """Do not make the call; the model is told not to try again."""

    model_config = ConfigDict(frozen=True)

    type: Literal["reject"] = "reject"
    message: str | None = None


class Respond(BaseModel):
    """Do not make the call; this is the model's answer instead."""

    model_config = ConfigDict(frozen=True)

    type: Literal["respond"] = "respond"
    message: str


Decision = Annotated[Approve | Edit | Reject | Respond, Field(discriminator="type")]
"""What a person may answer."""

ApprovalFunction = Callable[[VoiceCallInput, VoiceCallQuote], Awaitable[Any] | Any]
"""Asks a person in a way of the application's own.

Answers with a decision, as one of the types above or as a mapping of their shape; `True` and
`"approve"` approve, `False` and `"reject"` reject. Sync or async.
"""

Approval = Literal["never", "interrupt"] | ApprovalFunction
"""Who is asked: nobody, the person behind a graph, or a function."""


class UnreadableAnswerError(ValueError):
    """A resumed graph was given what is no decision. Nothing of it is kept: answer again.

    No `ToolException`, so that the person who answered hears of it, not the model.
    """


_DECISION: TypeAdapter[Approve | Edit | Reject | Respond] = TypeAdapter(Decision)


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked.

    Attributes:
        request: the call as it would be made.
        quote: its price and plan.
        worst_case: US dollars that it can cost at the most.
        tool_call_id: the tool call that asked for it, where there is one.
        agreed_before: the price of an earlier yes that no longer holds.
    """

    request: VoiceCallInput
    quote: VoiceCallQuote
    worst_case: Decimal
    tool_call_id: str | None = None
    agreed_before: Decimal | None = None

    def description(self) -> str:
        """The question in words."""
        what = "Conference call" if self.quote.conference else "Phone call"
        price = f"{what} to {', '.join(self.request.numbers)} for ${_amount(self.quote.total)}"
        most = (
            f" (at the most ${_amount(self.worst_case)})"
            if self.worst_case > self.quote.total
            else ""
        )
        again = (
            f" You agreed to ${_amount(self.agreed_before)}; it costs more now."
            if self.agreed_before is not None
            else ""
        )
        return f"{price}{most}.{again} Objective: {self.request.objective}"

    def interrupt_value(self) -> dict[str, Any]:
        """A `ToolApprovalRequest`, and the quote beside it; JSON throughout."""
        plan = self.quote.model_dump(mode="json", exclude={"raw"}, exclude_none=True)
        return {
            "type": "tool_approval",
            "tool_call_id": self.tool_call_id or "",
            "name": TOOL_NAME,
            "args": self.request.model_dump(mode="json", exclude_none=True),
            "description": self.description(),
            "quote": plan | {"worst_case": _amount(self.worst_case)},
        }


async def ask(approval: Approval, question: Question) -> Approve | Edit | Reject | Respond:
    """A person's decision.

    Raises:
        ConfigurationError: when nobody can be asked: no graph, no checkpointer, or a function
            that answers with what is no decision. Nothing was paid.
        GraphInterrupt: the graph pauses here, until it is resumed with the answer.
    """
    if approval == "never":
        return Approve()
    if approval == "interrupt":
        return _interrupt(question)
    return read_decision(await call_user(approval, question.request, question.quote))


def read_decision(answer: object) -> Approve | Edit | Reject | Respond:
    """The decision that an answer stands for.

    Raises:
        ConfigurationError: when it stands for none. An unclear answer is never a yes.
    """
    if isinstance(answer, Approve | Edit | Reject | Respond):
        return answer
    if isinstance(answer, bool):
        return Approve() if answer else Reject()
    if isinstance(answer, str):
        answer = {"type": answer}
    if isinstance(answer, Mapping) and isinstance(answer.get("decisions"), list):
        decisions = answer["decisions"]
        answer = decisions[0] if len(decisions) == 1 else answer
    try:
        return _DECISION.validate_python(answer)
    except ValidationError as wrong:
        raise wording.approval_unreadable(_problems(wrong)) from None


def _problems(wrong: ValidationError) -> str:
    return "; ".join(dict.fromkeys(problem["msg"] for problem in wrong.errors()))


def _amount(dollars: Decimal) -> str:
    """Exact, with cents: `6.75`, `8.50`, `0.123456`."""
    cents = dollars.quantize(Decimal("0.01"))
    return str(cents) if cents == dollars else f"{dollars.normalize():f}"


def _interrupt(question: Question) -> Approve | Edit | Reject | Respond:
    try:
        from langgraph.config import get_config  # noqa: PLC0415 - an optional extra
        from langgraph.types import interrupt  # noqa: PLC0415
    except ImportError:
        raise wording.approval_needs_langgraph() from None
    try:
        configurable = get_config().get("configurable") or {}
    except RuntimeError:
        configurable = {}
    if configurable.get(_CHECKPOINTER) is None:
        in_graph = any(name.startswith(_INSIDE_A_GRAPH) for name in configurable)
        where = "a graph without a checkpointer" if in_graph else "no graph"
        raise wording.approval_needs_graph(where)
    schema: Any = Decision
    try:
        return read_decision(interrupt(question.interrupt_value(), response_schema=schema))
    except ValidationError as wrong:
        unreadable = UnreadableAnswerError(f"The answer is no decision ({_problems(wrong)}).")
        # LangGraph has marked its error as one that leaves the question open; the tool would take
        # a ValidationError for one about the model's arguments.
        vars(unreadable).update(vars(wrong))
        raise unreadable from None
