"""What every test against the malicious service shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostile.trials import Trials


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """The processes that are attacked, and what came of each attack."""
    specs = (getattr(item, "callspec", None) for item in request.session.items)
    parameters = [spec.params for spec in specs if spec is not None]
    chosen = {(each.get("attack"), each.get("transport")) for each in parameters}
    with Trials(chosen) as running:
        yield running
