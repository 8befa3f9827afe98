"""The person behind the graph: what they are shown, what they say, and what they have said."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from langgraph.types import Command

from storm.plan import Plan, Reply, Turn

GARBAGE: dict[str, Any] = {
    "maybe": {"type": "maybe"},
    "text": "yes, please",
    "seven": 7,
    "empty": [],
    "no_action": {"type": "edit"},
}
_BARE_TRIES = 2
"""After so many bare answers that were not taken, the person answers by id."""

_NOBODY = "0" * 32


@dataclass(frozen=True, slots=True)
class Request:
    """A call as it would be made, as far as plans differ in it."""

    objective: str
    number: str
    minutes: int | None

    @classmethod
    def of(cls, body: Any) -> Request:
        """The request in a tool call's arguments, or in what the service was sent."""
        minutes = body.get("max_duration_minutes")
        return cls(body["objective"], str(body["target_number"]), minutes)


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a call as it was shown."""

    interrupt_id: str
    request: Request
    price: Decimal
    tool_call_id: str


@dataclass(slots=True)
class Heard:
    """What was said to one question.

    Attributes:
        chain: the call that it is about.
        wish: which call of the plan that is.
        reply: what the person says to it.
        given: how often an answer was given.
        decided: whether the decision itself was given, not only mistakes.
        last_given: its place among all answers; the later one counts.
        bare: whether the decision was given without the id, and the question did not come again.
        settled: whether the graph asked about something else after the decision.
        edited_to: the call that the person made of this one.
    """

    question: Question
    chain: str
    wish: int
    reply: Reply
    given: int = 0
    decided: bool = False
    last_given: int = -1
    bare: bool = False
    settled: bool = False
    edited_to: Request | None = None


def subject_line(subject: int) -> str:
    """The objective by which the books tell whose payment it is."""
    return f"Ask shop number {subject} whether it is open on Sunday."


def number_of(subject: int) -> str:
    """Whom a call of this subject rings."""
    return f"+141555501{10 + subject}"


def edited_number(wish: int) -> str:
    """Whom a call rings that the person has changed."""
    return f"+141555501{20 + wish}"


def own_answer(name: str, plan: Plan) -> Any:
    """The right answer to one of the node's own questions."""
    return {"type": "approve", "for": name} if plan.own_yes else f"to {name}"


@dataclass(slots=True)
class Person:
    """Answers as the plan says, and keeps an account of it."""

    plan: Plan
    heard: dict[Question, Heard] = field(default_factory=dict)
    asked: int = 0
    """Questions shown, each time counted."""
    bare: int = 0
    """Answers given without an id."""
    bare_in_vain: int = 0
    """Of these, decisions about a call after which the same question came again."""
    own_in_vain: int = 0
    """Of these, answers to an own question after which the same question came again."""
    strange: list[str] = field(default_factory=list)
    """What was wrong with what was shown."""
    _bare_tries: Counter[str] = field(default_factory=Counter)
    _kinds_open: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    _answers: int = 0
    _only_by_id: bool = False
    _last_bare: Heard | None = None
    _last_own: str | None = None

    def look(self, interrupts: list[Any], paid: set[str]) -> None:
        """Read what is shown. `paid` are the objectives that were paid for already."""
        self.asked += len(interrupts)
        last_own, self._last_own = self._last_own, None
        for shown in interrupts:
            if "own" in shown.value:
                self.own_in_vain += shown.value["own"] == last_own
                continue
            question = _read(shown)
            if shown.value.get("question", shown.id) != shown.id:
                self.strange.append("a question's value has another id than its interrupt")
            if question not in self.heard:
                self.heard[question] = self._new(question)
                # A no that could not be told apart is asked for again, and the note says so.
                unexplained = not shown.value.get("note")
                refused = self._alone(question) and self._refused_before(self.heard[question])
                if refused and unexplained:
                    self.strange.append("asked again after a no")
            self.bare_in_vain += self.heard[question].bare
            self.heard[question].bare = False
            if question.request.objective in paid and self._alone(question):
                self.strange.append("asked about a call that was paid")
        asked_about = {self.heard[_read(s)].chain for s in interrupts if "own" not in s.value}
        for heard in self.heard.values():
            heard.settled |= heard.decided and heard.chain not in asked_about

    def say(self, interrupts: list[Any], turn: Turn, rng: random.Random) -> Command[Any]:
        """Answer some of the questions, in the style of the plan."""
        style = self.plan.style
        bare = style == "bare" or (style == "mixed" and not turn.by_id)
        if len(interrupts) == 1 and bare and not self._only_by_id:
            subject = self._subject(interrupts[0])
            self._bare_tries[subject] += 1
            if self._bare_tries[subject] <= _BARE_TRIES:
                self.bare += 1
                answer = self._answer(interrupts[0], interrupts)
                self._last_bare = self._decided_last(interrupts[0])
                if self._last_bare is not None:
                    self._last_bare.bare = True
                self._last_own = interrupts[0].value.get("own")
                return Command(resume=answer)
        chosen = rng.sample(interrupts, min(turn.most, len(interrupts)))
        return Command(resume={shown.id: self._answer(shown, interrupts) for shown in chosen})

    def refused(self) -> None:
        """LangGraph refused the bare answer: more is open than it had shown. Go on by id."""
        self._only_by_id, self._last_own = True, None
        if self._last_bare is not None:
            self._last_bare.given -= 1
            self._last_bare.decided = self._last_bare.bare = False
            self._last_bare = None

    def _refused_before(self, new: Heard) -> bool:
        """Whether the same call was refused before, and the graph had heard of it."""
        return any(
            heard.chain == new.chain and heard.settled and not heard.reply.is_yes
            for heard in self.heard.values()
        )

    def _decided_last(self, shown: Any) -> Heard | None:
        """What was decided about a call in the answer that was given just now."""
        if "own" in shown.value:
            return None
        heard = self.heard[_read(shown)]
        return heard if heard.last_given == self._answers else None

    def _new(self, question: Question) -> Heard:
        """Decide what is said to a question that is new."""
        wish = self._wish_of(question)
        chain = f"call {wish}"
        nth = self._kinds_open[chain]
        self._kinds_open[chain] += 1
        replies = self.plan.wishes[wish].replies
        reply = replies[nth] if nth < len(replies) else Reply()
        return Heard(question, chain, wish, reply)

    def _wish_of(self, question: Question) -> int:
        alike = self._alike(question)
        if question.tool_call_id.startswith("call-"):
            wish = int(question.tool_call_id.removeprefix("call-"))
            if wish in alike:
                return wish
            self.strange.append(f"a question is about another tool call's request: {question}")
        taken = {heard.wish for heard in self.heard.values()}
        return next((i for i in alike if i not in taken), alike[0])

    def _alike(self, question: Question) -> list[int]:
        objective = question.request.objective
        wishes = enumerate(self.plan.wishes)
        return [i for i, wish in wishes if subject_line(wish.subject) == objective]

    def _alone(self, question: Question) -> bool:
        return len(self._alike(question)) == 1

    def _subject(self, shown: Any) -> str:
        """What counts together for the tries of a bare answer."""
        if "own" in shown.value:
            return f"own {shown.value['own']}"
        return self.heard[_read(shown)].chain

    def _answer(self, shown: Any, interrupts: list[Any]) -> Any:
        """The answer to give now, entered in the account."""
        if "own" in shown.value:
            return own_answer(shown.value["own"], self.plan)
        heard = self.heard[_read(shown)]
        heard.given += 1
        if heard.given <= len(heard.reply.mistakes):
            mistake = heard.reply.mistakes[heard.given - 1]
            if mistake != "other_question":
                return GARBAGE[mistake]
            others = [other.id for other in interrupts if other.id != shown.id]
            return {"type": "approve", "question": (others or [_NOBODY])[0]}
        self._answers += 1
        heard.decided, heard.last_given = True, self._answers
        return self._wrapped(self._decision(shown, heard), heard.reply, shown.id)

    def _decision(self, shown: Any, heard: Heard) -> dict[str, Any]:
        kind = heard.reply.decision
        if kind in {"approve", "reject"}:
            return {"type": kind}
        if kind == "respond":
            return {"type": "respond", "message": "It is settled already."}
        args: dict[str, Any] = {k: v for k, v in shown.value["args"].items() if v is not None}
        if kind == "edit_number":
            args["target_number"] = edited_number(heard.wish)
        elif kind != "edit_nothing":
            args["max_duration_minutes"] = 2 if kind == "edit_shorter" else 12
        heard.edited_to = Request.of(args)
        return {"type": "edit", "edited_action": {"name": shown.value["name"], "args": args}}

    @staticmethod
    def _wrapped(decision: dict[str, Any], reply: Reply, question_id: str) -> Any:
        match reply.wrap:
            case "decisions":
                return {"decisions": [decision]}
            case "list":
                return [decision]
            case "named" if decision["type"] == "approve":
                return decision | {"question": question_id}
            case _:
                return decision


def _read(shown: Any) -> Question:
    value = shown.value
    price = Decimal(value["quote"]["total"])
    return Question(shown.id, Request.of(value["args"]), price, value["tool_call_id"])
