"""What must be true after an example, whatever happened in it."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_oneshot_voice.sandbox.records import Call, Ring
from storm.person import Heard, Request, own_answer, subject_line
from storm.plan import Plan

if TYPE_CHECKING:
    from storm.example import Story

_BUSY_WORDS = ("busy", "in progress", "another call")
"""How a call ends beside an equal one whose phone is ringing, when the duplicate guard is off."""


def violations(
    plan: Plan, story: Story, calls: list[Call], rings: list[Ring], charged: dict[str, Decimal]
) -> list[str]:
    """Everything that is wrong, a line each: its kind, a colon, and the details."""
    groups = _by_objective(plan, story, calls)
    wrong = list(story.person.strange)
    for group in groups:
        wrong += group.unbacked() or group.miscounted()
    wrong += _lost_bare_answers(plan, story)
    wrong += _wrong_books(calls, rings, charged)
    wrong += _wrong_own_answers(plan, story)
    wrong += _wrong_ends(plan, story, groups)
    wrong += [f"the graph raised: {error}" for error in story.errors if not _of_limit(plan, error)]
    return wrong


class _Group:
    """The calls with one objective: one call of the plan, or several equal ones."""

    def __init__(self, plan: Plan, wishes: list[int], heard: list[Heard], paid: list[Call]) -> None:
        self._plan = plan
        self.wishes = wishes
        self._heard = [h for h in heard if h.decided]
        self._asked = heard
        self.paid = paid

    def unbacked(self) -> list[str]:
        """Payments for which nobody has said yes, to this number and at no less than this price."""
        yes = sorted(
            ((_agreed(h), h.question.price) for h in self._heard if h.reply.is_yes),
            key=lambda consent: consent[1],
        )
        wrong = []
        for call in sorted(self.paid, key=lambda call: call.price):
            request = Request.of(call.body)
            backed = [c for c in yes if c[0] == request and c[1] >= call.price]
            if backed:
                yes.remove(backed[0])
            else:
                wrong.append(f"{self._kind(request)}: {request} for {call.price}")
        return wrong

    def _kind(self, request: Request) -> str:
        about = [h for h in self._asked if request in {h.question.request, h.edited_to}]
        if not about:
            return "paid unasked"
        if not any(h.decided for h in about):
            return "paid without an answer"
        if not any(h.reply.is_yes and _agreed(h) == request for h in about if h.decided):
            return "paid in spite of a no"
        return "paid twice or dearer"

    def miscounted(self) -> list[str]:
        """More or fewer payments than calls whose last answer is a yes."""
        last: dict[str, Heard] = {}
        for heard in sorted(self._heard, key=lambda h: h.last_given):
            last[heard.chain] = heard
        yes = sum(heard.reply.is_yes for heard in last.values())
        fewest = most = yes
        if len(self.wishes) > 1 and self._plan.guard:
            fewest = most = min(yes, 1) if not self._edited() else yes
            fewest = min(fewest, 1)
        elif len(self.wishes) > 1 and not self._plan.in_order:
            fewest = min(yes, 1)  # the others may find the phone busy
        if len(self.paid) < fewest:
            return [f"not paid in spite of a yes: {len(self.paid)} of {yes}"]
        if len(self.paid) > most:
            return [f"paid after a later no: {len(self.paid)} for {yes}"]
        return []

    def unasked(self) -> list[str]:
        """Calls that have an outcome though nobody has decided anything about them."""
        decided = {heard.chain for heard in self._heard}
        alone, told_apart = len(self.wishes) == 1, self._plan.in_order and not self._plan.guard
        if not (alone or told_apart) or len(decided) >= len(self.wishes):
            return []
        return [f"a call ended without a decision: {len(decided)} of {len(self.wishes)} had one"]

    def _edited(self) -> bool:
        return any(heard.edited_to is not None for heard in self._heard)

    def expected_status(self, wish: int) -> str | None:
        """How a call of its own has to end; `None` where several endings are right."""
        if len(self.wishes) > 1:
            return None
        about = [h for h in self._heard if h.wish == wish]
        if not about:
            return None
        last = max(about, key=lambda h: h.last_given)
        return "completed" if last.reply.is_yes else "rejected"


def _agreed(heard: Heard) -> Request:
    """The call that a yes allows."""
    return heard.edited_to or heard.question.request


def _by_objective(plan: Plan, story: Story, calls: list[Call]) -> list[_Group]:
    wishes: dict[int, list[int]] = defaultdict(list)
    for index, wish in enumerate(plan.wishes):
        wishes[wish.subject].append(index)
    groups = []
    for indexes in wishes.values():
        heard = [h for h in story.person.heard.values() if h.wish in indexes]
        paid = [call for call in calls if _objective_of(plan, indexes) == call.body["objective"]]
        groups.append(_Group(plan, indexes, heard, paid))
    return groups


def _objective_of(plan: Plan, indexes: list[int]) -> str:
    return subject_line(plan.wishes[indexes[0]].subject)


def _wrong_books(calls: list[Call], rings: list[Ring], charged: dict[str, Decimal]) -> list[str]:
    """Each call that was paid has rung its one number, and has cost what it was quoted at."""
    rung = sorted((ring.request_id, ring.number) for ring in rings)
    expected = sorted((call.request_id, str(call.body["target_number"])) for call in calls)
    prices = {call.request_id: call.price for call in calls}
    wrong = [] if rung == expected else [f"other phones rang: {rung}"]
    return wrong if charged == prices else [*wrong, f"other amounts were charged: {charged}"]


def _lost_bare_answers(plan: Plan, story: Story) -> list[str]:
    """A bare answer is taken by the one question that it can be meant for."""
    if not plan.is_undisturbed or plan.bare_limit:
        return []
    wrong = []
    if story.person.own_in_vain:
        wrong.append(f"a bare answer to an own question was lost: {story.person.own_in_vain} times")
    # With durability "exit" LangGraph may still store the bare answer to an own question.
    if story.person.bare_in_vain and not (plan.own and plan.durability == "exit"):
        wrong.append(f"a bare answer was not taken: {story.person.bare_in_vain} times")
    return wrong


def _wrong_own_answers(plan: Plan, story: Story) -> list[str]:
    """By id, an own question gets its own answer; bare, at least no decision about a call."""
    wrong = []
    for name, value in story.received:
        if value == own_answer(name, plan):
            continue
        if _is_own_answer(value):
            if plan.style == "id":
                wrong.append(f"an own question got another one's answer: {name} got {value}")
            story.counts["own got another own's (LangGraph)"] += 1
        elif plan.style != "id" and plan.bare_limit:
            story.counts["own got a call's decision (limit)"] += 1
        else:
            wrong.append(f"an own question got a call's decision: {name} got {value}")
    return list(dict.fromkeys(wrong))


def _is_own_answer(value: Any) -> bool:
    if isinstance(value, dict):
        return "for" in value
    return isinstance(value, str) and value.startswith("to ")


def _wrong_ends(plan: Plan, story: Story, groups: list[_Group]) -> list[str]:
    """The graph ends, and each call has one outcome, which is the right one."""
    if story.outcomes is None:
        return ["the graph did not end: too many turns"]
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for outcome in story.outcomes:
        found[outcome["wish"]].append(outcome)
    wrong = []
    for group in groups:
        for wish in group.wishes:
            if len(found[wish]) != 1:
                wrong.append(f"a call has not one outcome: {wish} has {found[wish]}")
                continue
            wrong += _wrong_outcome(plan, group, wish, found[wish][0])
        wrong += group.unasked()
    return wrong


def _wrong_outcome(plan: Plan, group: _Group, wish: int, outcome: dict[str, Any]) -> list[str]:
    if "error" in outcome:
        may_be_busy = len(group.wishes) > 1 and not plan.guard and not plan.in_order
        if may_be_busy and any(word in outcome["error"].lower() for word in _BUSY_WORDS):
            return []
        return [f"a call ended in an error: {wish} in {outcome['error'][:300]}"]
    expected = group.expected_status(wish)
    if "status" in outcome and expected is not None and outcome["status"] != expected:
        return [f"a call has the wrong outcome: {wish}, expected {expected}, got {outcome}"]
    return []


def _of_limit(plan: Plan, error: str) -> bool:
    """LangGraph's own assertion, when a foreign question and a bare answer meet in two threads."""
    return plan.bare_limit and plan.style != "id" and error.startswith("AssertionError")
