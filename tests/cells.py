"""What the short suite runs: of tests with three parameters or more, some combinations of them.

With CHAOS=full every combination runs. Otherwise a few of them do, in which every two values of two
parameters that occur together in the whole product still meet: a fault that needs two circumstances
at once is found by either.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

Pair = tuple[tuple[str, str], ...]
"""Two parameters, each by its name and how its value is shown."""


def needless(items: Iterable[pytest.Item], folder: Path) -> set[pytest.Item]:
    """Tests of a folder each of whose pairs of values another test of the same function has."""
    products: defaultdict[tuple[Path, str], dict[pytest.Item, set[Pair]]] = defaultdict(dict)
    for item in items:
        if isinstance(item, pytest.Function) and folder in item.path.parents:
            values = item.callspec.params if hasattr(item, "callspec") else {}
            if len(values) > 2:
                shown = [(name, repr(value)) for name, value in values.items()]
                pairs: set[Pair] = set(itertools.combinations(sorted(shown), 2))
                products[item.path, item.originalname][item] = pairs
    return {item for product in products.values() for item in _without_a_new_pair(product)}


def _without_a_new_pair(product: dict[pytest.Item, set[Pair]]) -> set[pytest.Item]:
    left, unused = set().union(*product.values()), dict(product)
    while left:
        most = max(unused, key=lambda item: len(unused[item] & left))
        left -= unused.pop(most)
    return set(unused)
