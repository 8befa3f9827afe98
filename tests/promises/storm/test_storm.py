"""Whatever happens to a graph, what is paid is what a person has agreed to, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from storm.example import smallest, tell
from storm.figures import Figures
from storm.plan import EXAMPLES, FULL, Plan, plans
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

    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(plans())
    def storm(plan: Plan) -> None:
        told = tell(world, plan)
        figures.add(told)
        # Raised at the end: hypothesis would run a failure again, and threads may go otherwise.
        wrong.extend([told] if told.wrong else [])

    storm()
    with capsys.disabled():
        print(f"\n{figures.table()}")  # noqa: T201 - the figures are what it is read for
    assert not wrong, smallest(world, wrong[0], _SECONDS_TO_SHRINK)
