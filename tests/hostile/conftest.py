"""What every test against the malicious service shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from hostile.attack import Attack
from hostile.trials import Trials, Withstand, shares_of


@pytest.fixture(scope="session")
def trials() -> Iterator[Trials]:
    """The processes that are attacked."""
    with Trials() as running:
        yield running


@pytest.fixture
def withstand(trials: Trials, subtests: pytest.Subtests) -> Withstand:
    """Carries attacks out; each that does harm is a failure with its name."""

    def judge(attacks: Sequence[Attack]) -> None:
        for trial in trials.of(shares_of(attacks)):
            with subtests.test(str(trial)):
                trial.require()

    return judge
