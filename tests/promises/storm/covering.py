"""Few plans in which everything occurs: for every run of the tests.

Each shape is in one of the plans with and without async, each saver with each durability, and each
way of making a call with each style of answering; and so is each trouble, weather, price, decision
and mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from storm.plan import Plan, draw_plan

_POOL = 1000
"""Plans to choose from. Twice as many spare one plan at most."""


def covering_plans() -> list[Plan]:
    """Plans that together have everything that one of the pool has; the same in each run."""
    pool = [draw_plan(Random(number)) for number in range(_POOL)]  # noqa: S311 - plans, not secrets
    parts = [set(parts_of(plan)) for plan in pool]
    missing = set().union(*parts)
    chosen = []
    while missing:
        best = max(range(_POOL), key=lambda i: len(parts[i] & missing))
        chosen.append(pool[best])
        missing -= parts[best]
    return chosen


def parts_of(plan: Plan) -> Iterator[object]:
    """What occurs in a plan."""
    yield "shape", plan.shape, plan.asynchronous
    yield "saver", plan.saver, plan.durability
    yield "way", plan.way, plan.style
    for name in ("own", "beside", "own_yes", "guard", "retries"):
        yield name, getattr(plan, name)
    for turn in plan.turns:
        yield from (("restart", turn.restart), ("poke", turn.poke), ("weather", turn.weather))
        if turn.trouble is not None:
            yield turn.trouble.seam, turn.trouble.kind
    for wish in plan.wishes:
        yield "prices", wish.prices
        for reply in wish.replies:
            yield from (("decision", reply.decision), ("wrap", reply.wrap))
            yield from (("mistake", mistake) for mistake in reply.mistakes)
