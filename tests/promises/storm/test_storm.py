"""Whatever happens to a graph, what is paid is what a person has agreed to, once."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from full import FULL
from hypothesis import HealthCheck, Phase, given, settings

from storm.covering import covering_plans, parts_of
from storm.example import smallest, tell
from storm.figures import Figures
from storm.plan import EXAMPLES, Plan, draw_plan, plans
from storm.world import World

_SECONDS = 3600 if FULL else 600
_SECONDS_TO_SHRINK = 60.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """The service and the databases of this worker."""
    with World() as opened:
        yield opened


@pytest.mark.timeout(_SECONDS)
def test_books_agree_with_what_was_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Each payment has its yes and each yes its payment, in every kind of graph and trouble."""
    figures, wrong = Figures(), []

    def storm(plan: Plan) -> None:
        told = tell(world, plan)
        figures.add(told)
        # Raised at the end: hypothesis would run a failure again, and threads may go otherwise.
        wrong.extend([told] if told.wrong else [])

    drawn = settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    if FULL:
        drawn(given(plans())(storm))()
    else:
        for plan in covering_plans():
            storm(plan)
    with capsys.disabled():
        print(f"\n{figures.table()}")  # noqa: T201 - the figures are what it is read for
    assert not wrong, smallest(world, wrong[0], _SECONDS_TO_SHRINK)


def test_everything_occurs_in_the_short_form() -> None:
    """What occurs in thousands of plans occurs in the few that every run of the tests tries."""
    everything = {part for n in range(3000) for part in parts_of(draw_plan(Random(n)))}  # noqa: S311 - plans
    tried = {part for plan in covering_plans() for part in parts_of(plan)}
    assert everything - tried == set()
