"""Makes a plan that fails smaller, as far as it still fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from storm.plan import Plan, Reply, Turn, Wish

_SWITCHES = (
    "own",
    "beside",
    "own_yes",
    "guard",
    "retries",
    "saver",
    "asynchronous",
    "durability",
)


def simplest(plan: Plan, fails: Callable[[Plan], bool], seconds: float) -> Plan:
    """The smallest plan found within a time that fails like this one.

    Args:
        plan: one that fails.
        fails: runs a plan, and tells whether it fails in the same way.
        seconds: after which no further plan is tried.
    """
    deadline = time.monotonic() + seconds
    found = True
    while found:
        found = False
        for smaller in _smaller(plan):
            if time.monotonic() > deadline:
                return plan
            if fails(smaller):
                plan, found = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Plans with one thing less in them."""
    for i in reversed(range(len(plan.turns))):
        yield replace(plan, turns=plan.turns[:i] + plan.turns[i + 1 :])
    if len(plan.wishes) > 1:
        for i in range(len(plan.wishes)):
            yield replace(plan, wishes=plan.wishes[:i] + plan.wishes[i + 1 :])
    usual = Plan()
    for name in (
        "own",
        "beside",
        "own_yes",
        "guard",
        "retries",
        "saver",
        "asynchronous",
        "durability",
    ):
        value = getattr(usual, name)
        if getattr(plan, name) != value:
            yield replace(plan, **{name: value})
    for i, turn in enumerate(plan.turns):
        for less in _calmer(turn):
            yield replace(plan, turns=(*plan.turns[:i], less, *plan.turns[i + 1 :]))
    for i, wish in enumerate(plan.wishes):
        for shorter in _plainer(wish):
            yield replace(plan, wishes=(*plan.wishes[:i], shorter, *plan.wishes[i + 1 :]))


def _calmer(turn: Turn) -> Iterator[Turn]:
    if turn.restart:
        yield replace(turn, restart=False)
    if turn.poke:
        yield replace(turn, poke=False)
    if turn.trouble is not None:
        yield replace(turn, trouble=None)
    if turn.weather != "none":
        yield replace(turn, weather="none")
    if turn.most < Turn().most:
        yield replace(turn, most=Turn().most)


def _plainer(wish: Wish) -> Iterator[Wish]:
    if wish.prices != "steady":
        yield replace(wish, prices="steady")
    if wish.minutes is not None:
        yield replace(wish, minutes=None)
    for i, reply in enumerate(wish.replies):
        plainer = [
            replace(reply, mistakes=()),
            replace(reply, wrap="plain"),
            replace(reply, decision="approve"),
        ]
        for less in plainer:
            if less != reply:
                yield replace(wish, replies=_with(wish.replies, i, less))
    if wish.replies and wish.replies[-1] == Reply():
        yield replace(wish, replies=wish.replies[:-1])


def _with(replies: tuple[Reply, ...], place: int, reply: Reply) -> tuple[Reply, ...]:
    return (*replies[:place], reply, *replies[place + 1 :])
