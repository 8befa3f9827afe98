"""How much chaos: a short form for every run of the tests, the full size for `make chaos`."""

from __future__ import annotations

from full import FULL

KILLS = 100 if FULL else 4
"""Blows to workers at work, for each kind of journal; in the short form one after each step."""

CALLS = 5 if FULL else 2
"""Calls of a round of killed workers."""

EXAMPLES = 1000 if FULL else 12
"""Lives that the state machine tries."""
