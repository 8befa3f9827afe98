"""One example: one thread of one graph, from its first input to its end."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from storm.life import FIRST, Died, Ended, Life, Paused, Stopped
from storm.person import Person
from storm.plan import Plan, Turn
from storm.simpler import simplest
from storm.verdict import violations
from storm.world import World

_MOST_TURNS = 60

_OPEN_ELSEWHERE = "When there are multiple pending interrupts"
"""How LangGraph refuses a bare answer. It may have shown only one of several open questions."""


@dataclass(slots=True)
class Story:
    """What happened in one example.

    Attributes:
        person: what was asked and said.
        received: the answers that own questions got, by their names.
        outcomes: what the calls came to; `None` when the graph did not end.
        errors: what the graph raised.
        counts: how often what happened.
        log: the turns in words, for whoever reads a failure.
    """

    person: Person
    received: list[tuple[str, Any]] = field(default_factory=list)
    outcomes: list[dict[str, Any]] | None = None
    errors: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Told:
    """One example, and what is wrong with it."""

    plan: Plan
    story: Story
    wrong: list[str]
    calls: int

    def __str__(self) -> str:
        return "\n".join(
            [*self.wrong, f"--plan '{self.plan.to_json()}'", *self.story.log, *self._books()]
        )

    def _books(self) -> list[str]:
        said = [
            f"said to {heard.question}: {heard.reply} given {heard.given} times"
            for heard in self.story.person.heard.values()
        ]
        received = list(dict.fromkeys(f"{name}: {value}" for name, value in self.story.received))
        return [*said, f"outcomes: {self.story.outcomes}", f"received: {received}"]


def tell(world: World, plan: Plan) -> Told:
    """Run an example, and compare the books with what was said."""
    scene = world.example(plan)
    story = Story(Person(plan))
    try:
        _run(plan, scene, story)
        calls, rings, charged = scene.calls(), scene.rings(), scene.charged()
    finally:
        scene.clear()
    for call in calls:
        story.log.append(f"paid {call.price}: {dict(call.body)}")
    story.counts["payments"] = len(calls)
    story.counts["questions"] = story.person.asked
    story.counts["bare answers"] = story.person.bare
    story.counts["bare decisions asked for again"] = story.person.bare_in_vain
    wrong = violations(plan, story, calls, rings, charged)
    return Told(plan, story, wrong, len(calls))


def smallest(world: World, told: Told, seconds: float) -> Told:
    """The smallest example found that is wrong in one of the same ways."""
    kinds = {_kind(wrong) for wrong in told.wrong}
    last = [told]

    def fails(plan: Plan) -> bool:
        found = tell(world, plan)
        alike = bool(kinds & {_kind(wrong) for wrong in found.wrong})
        if alike:
            last[0] = found
        return alike

    simplest(told.plan, fails, seconds)
    return last[0]


def _kind(wrong: str) -> str:
    return wrong.split(":", maxsplit=1)[0]


def _run(plan: Plan, scene: Any, story: Story) -> None:
    life = Life(plan, scene, story.received)
    given: Any = FIRST
    try:
        for number in range(_MOST_TURNS):
            turn = plan.turns[number] if number < len(plan.turns) else Turn()
            if turn.restart:
                life.end()
                life = Life(plan, scene, story.received)
                story.counts["restarts"] += 1
            came_to = life.run(given, turn, number)
            if life.mishap is not None:
                story.counts[life.mishap] += 1
            story.log.append(f"turn {number}: given {_short(given)}, {_short(came_to)}")
            if isinstance(came_to, Died):
                story.counts["crashes"] += 1
                life.end()
                life = Life(plan, scene, story.received)
                came_to = life.stands()
            match came_to:
                case Ended():
                    story.outcomes = came_to.outcomes
                    return
                case Stopped():
                    given = _after_stop(came_to, story)
                case Paused():
                    given = _after_question(came_to, turn, plan, scene, story, number)
    finally:
        life.end()


def _after_stop(stopped: Stopped, story: Story) -> Any:
    """The run came to nothing: run the graph again, from the beginning if nothing is stored."""
    if stopped.error is not None and _OPEN_ELSEWHERE in str(stopped.error):
        story.counts["bare answers that LangGraph refused"] += 1
        story.person.refused()
    elif stopped.error is not None:
        story.errors.append(f"{type(stopped.error).__name__}: {stopped.error}")
    return None if stopped.asked else FIRST


def _after_question(
    paused: Paused, turn: Turn, plan: Plan, scene: Any, story: Story, number: int
) -> Any:
    """Show the questions to the person, and take the answer to the graph; or forget to."""
    paid = {str(call.body["objective"]) for call in scene.calls()}
    story.person.look(paused.questions, paid)
    if turn.poke:
        story.counts["pokes"] += 1
        return None
    rng = random.Random(f"{plan.seed} {number}")  # noqa: S311 - which questions come first
    return story.person.say(paused.questions, turn, rng)


def _short(what: Any) -> str:
    match what:
        case None:
            return "nothing"
        case Paused():
            return f"asks {[(q.id, _question(q.value)) for q in what.questions]}"
        case Ended():
            return f"ended with {what.outcomes}"
        case _:
            return "the first input" if what is FIRST else str(what)


def _question(value: dict[str, Any]) -> str:
    if "own" in value:
        return f"own {value['own']}"
    note = f", note: {value['note']}" if value.get("note") else ""
    return f"{value['args']['target_number']} for {value['quote']['total']}{note}"
