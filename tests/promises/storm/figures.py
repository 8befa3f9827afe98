"""The table at the end of a storm."""

from __future__ import annotations

from collections import Counter

from storm.example import Told
from storm.plan import Plan

_EVENTS = (
    "questions",
    "bare answers",
    "bare answers that LangGraph refused",
    "bare decisions asked for again",
    "payments",
    "crashes",
    "cancelled runs",
    "errors of the node",
    "restarts",
    "pokes",
    "own got another own's (LangGraph)",
    "own got a call's decision (limit)",
)
KINDS = (
    "paid unasked",
    "paid without an answer",
    "paid in spite of a no",
    "paid twice or dearer",
    "paid after a later no",
    "not paid in spite of a yes",
    "other phones rang",
    "other amounts were charged",
    "asked about a call that was paid",
    "asked again after a no",
    "a question is about another tool call's request",
    "a question's value has another id than its interrupt",
    "an own question got another one's answer",
    "an own question got a call's decision",
    "a bare answer was not taken",
    "a bare answer to an own question was lost",
    "the graph did not end",
    "a call has not one outcome",
    "a call ended without a decision",
    "a call ended in an error",
    "a call has the wrong outcome",
    "the graph raised",
)
"""Each kind of violation."""


class Figures:
    """Counts over all examples of a storm."""

    def __init__(self) -> None:
        self.examples = 0
        self.failed = 0
        self._places: Counter[tuple[str, str]] = Counter()
        self._plans: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._wrong: Counter[str] = Counter()

    def add(self, told: Told) -> None:
        """Count one example."""
        plan = told.plan
        self.examples += 1
        self.failed += bool(told.wrong)
        self._places[_where(plan), plan.saver] += 1
        self._plans.update([plan.style, f"durability {plan.durability}", f"by {plan.way}"])
        self._events.update(told.story.counts)
        self._wrong.update({wrong.split(":", maxsplit=1)[0] for wrong in told.wrong})

    def table(self) -> str:
        """The figures in lines for a terminal."""
        savers = ("memory", "sqlite", "postgres")
        rows = [["examples", *savers]]
        rows += [
            [where, *(str(self._places[where, saver]) for saver in savers)]
            for where in sorted({place for place, _ in self._places})
        ]
        rows.append(["in all", str(self.examples)])
        rows += [[name, str(number)] for name, number in sorted(self._plans.items())]
        rows += [[name, str(self._events[name])] for name in _EVENTS]
        rows.append(["examples with a violation", str(self.failed)])
        rows += [[f"  {kind}", str(self._wrong[kind])] for kind in KINDS]
        return "\n".join(
            "".join(cell.ljust(56 if i == 0 else 10) for i, cell in enumerate(row)).rstrip()
            for row in rows
        )


def _where(plan: Plan) -> str:
    return f"{plan.shape}, {'async' if plan.asynchronous else 'sync'}"
