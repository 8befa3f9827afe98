"""What every test against the malicious service shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostile.trials import Trials


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """The processes that are attacked, and what came of each attack."""
    parameters = (getattr(item, "callspec", None) for item in request.session.items)
    chosen = {found.params.get("attack") for found in parameters if found is not None}
    with Trials(chosen) as running:
        yield running
