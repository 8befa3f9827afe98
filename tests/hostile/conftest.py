"""What every test against the malicious service shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hostile.trials import Trials


@pytest.fixture(scope="session")
def trials() -> Iterator[Trials]:
    """The processes that are attacked, and what came of each attack."""
    with Trials() as running:
        yield running
