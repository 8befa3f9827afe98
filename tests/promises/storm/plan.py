"""What one example does: which graph, which calls, which answers and which troubles."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import TypeAdapter

EXAMPLES = 5000
"""Of `make chaos`. Any other run tries the few plans of `covering.py`."""

Shape = Literal[
    "tool_node", "node", "shuffled", "threads", "send", "agent", "subgraph", "entrypoint"
]
"""Where the calls are made.

- `tool_node`: all in one ToolNode.
- `node`: in a node of its own, one after the other.
- `shuffled`: the same, in another order in each run.
- `threads`: beside each other in one node: threads, or `asyncio.gather` in an async graph.
- `send`: a task for each call.
- `agent`: `create_agent`.
- `subgraph`: in a node of a subgraph.
- `entrypoint`: the functional API, a `@task` for each call.
"""
Saver = Literal["memory", "sqlite", "postgres"]
Durability = Literal["sync", "async", "exit"]
Style = Literal["id", "bare", "mixed"]
"""How the person answers: by the question's id, with the bare value, or now so, now so."""

Way = Literal["tool_call", "plain", "caller"]
"""How a node makes a call: with a tool call's id, with arguments only, or by `VoiceCaller.call`."""

Prices = Literal["steady", "expired", "rises", "falls"]
"""What happens to the first quote of a call.

- `steady`: it can be used for ten minutes.
- `expired`: it ends while the person thinks; the next one has the same price.
- `rises`: likewise; the next one is dearer.
- `falls`: likewise; the next one is cheaper.
"""

Decision = Literal[
    "approve",
    "reject",
    "respond",
    "edit_number",
    "edit_shorter",
    "edit_longer",
    "edit_nothing",
]
Mistake = Literal["maybe", "text", "seven", "empty", "no_action", "other_question"]
"""An answer that counts for nothing. `other_question` approves, and names another question."""

Wrap = Literal["plain", "decisions", "list", "named"]
"""The form of a decision: itself, `{"decisions": [it]}`, `[it]`, or with the question's id."""

Seam = Literal["journal", "saver", "progress", "sandbox", "own"]
"""Where a process may end: a use of the journal, a write of the saver, a listener, an answer of the
service, or the code of the user's own node."""

Kind = Literal["crash", "cancel", "error"]
"""The process dies, the run is cancelled, or the user's own node raises an ordinary error."""

Weather = Literal["none", "reply_lost", "reply_broken", "unavailable", "no_news", "no_receipts"]
"""What goes wrong at the service once: at the paid request, or when its outcome is looked for."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the person says to one question: mistakes first, then the decision, which stays."""

    decision: Decision = "approve"
    mistakes: tuple[Mistake, ...] = ()
    wrap: Wrap = "plain"

    @property
    def is_yes(self) -> bool:
        """Whether a call may be paid on it."""
        return self.decision not in {"reject", "respond"}


@dataclass(frozen=True, slots=True)
class Wish:
    """One call that the graph makes. Equal subjects are equal requests."""

    subject: int = 0
    minutes: int | None = None
    prices: Prices = "steady"
    replies: tuple[Reply, ...] = ()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens at the `nth` use of a seam in one turn."""

    seam: Seam
    nth: int
    kind: Kind = "crash"


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the graph, and what comes before it.

    Attributes:
        restart: the process ends well and another one takes over.
        poke: the graph is run without an answer, though it has asked.
        trouble: what ends this run.
        weather: what goes wrong at the service.
        by_id: in mixed style, whether the answer goes by id.
        most: how many questions are answered at most.
    """

    restart: bool = False
    poke: bool = False
    trouble: Trouble | None = None
    weather: Weather = "none"
    by_id: bool = False
    most: int = 9


@dataclass(frozen=True, slots=True)
class Plan:
    """One example.

    Attributes:
        own: whether the nodes ask questions of their own before, between and after the calls.
        beside: whether a foreign question may be asked while a call's is: another tool that asks
            in the same ToolNode or agent, or an `interrupt()` in one of the threads.
        own_yes: whether the answers to own questions look like an approval.
        guard: whether the duplicate guard is on.
        retries: whether LangGraph runs a node again that has raised an error.
        seed: for orders and short pauses.
    """

    shape: Shape = "node"
    asynchronous: bool = False
    saver: Saver = "memory"
    durability: Durability = "sync"
    style: Style = "id"
    way: Way = "tool_call"
    own: bool = False
    beside: bool = False
    own_yes: bool = False
    guard: bool = False
    retries: bool = False
    seed: int = 0
    wishes: tuple[Wish, ...] = (Wish(),)
    turns: tuple[Turn, ...] = ()

    @property
    def bare_limit(self) -> bool:
        """Whether a foreign question may take a bare answer that was meant for a call's."""
        return self.beside or (self.own and self.shape == "send")

    @property
    def in_order(self) -> bool:
        """Whether one call has ended before the next one begins."""
        return self.shape in {"node", "shuffled", "subgraph"}

    @property
    def is_undisturbed(self) -> bool:
        """Whether nothing comes between a question and its answer."""
        return not any(turn.poke or turn.trouble for turn in self.turns)

    def to_json(self) -> str:
        """The plan in one line, for `python -m storm --plan`."""
        return _PLAN.dump_json(self, exclude_defaults=True).decode()

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read what `to_json` wrote."""
        return _PLAN.validate_json(text)


_PLAN = TypeAdapter(Plan)


_USES: dict[Seam, int] = {"journal": 24, "saver": 16, "progress": 4, "sandbox": 3, "own": 3}
"""How often a turn usually uses a seam."""


_ENDS: tuple[Kind, ...] = ("crash", "cancel")


def plans() -> SearchStrategy[Plan]:
    """Plans, each drawn with a random generator of its own, so that all parts are independent.

    Hypothesis would make new plans of parts of old ones, which is good for bugs in parsers and
    leaves most kinds of graphs out here. `simpler.py` makes a plan that fails smaller.
    """
    return st.randoms(use_true_random=True).map(draw_plan)


def draw_plan(chance: Random) -> Plan:
    """A plan in which everything can be told afterwards."""
    shape: Shape = chance.choice(get_args(Shape))
    way: Way = "tool_call" if shape in {"tool_node", "agent"} else chance.choice(get_args(Way))
    may_ask_beside = shape in {"tool_node", "agent", "threads"}
    calm = chance.random() < 0.2
    wishes = [_draw_wish(chance) for _ in range(chance.choice((1, 2, 2, 3)))]
    own, beside = chance.random() < 0.5, may_ask_beside and chance.random() < 0.4
    seams = [seam for seam in get_args(Seam) if seam != "own" or own or beside]
    turns = [] if calm else [_draw_turn(chance, seams) for _ in range(chance.randint(1, 7))]
    return Plan(
        shape=shape,
        asynchronous=chance.random() < 0.5,
        saver=chance.choice(("memory", "sqlite", "sqlite", "postgres")),
        durability=chance.choice(get_args(Durability)),
        style=chance.choice(get_args(Style)),
        way=way,
        own=own,
        beside=beside,
        own_yes=chance.random() < 0.5,
        guard=chance.random() < 0.5,
        retries=chance.random() < 0.5,
        seed=chance.randrange(1000),
        wishes=tuple(_telling(wish, wishes, way) for wish in wishes),
        turns=tuple(turns),
    )


def _draw_wish(chance: Random) -> Wish:
    return Wish(
        subject=chance.randrange(4),
        minutes=chance.choice((None, 3, 8)),
        prices=chance.choice(("steady", "steady", "steady", *get_args(Prices)[1:])),
        replies=tuple(_draw_reply(chance) for _ in range(chance.randint(0, 2))),
    )


def _draw_reply(chance: Random) -> Reply:
    mistakes = get_args(Mistake)
    return Reply(
        decision=chance.choice(("approve", "approve", "reject", *get_args(Decision)[1:])),
        mistakes=tuple(chance.sample(mistakes, chance.choice((0, 0, 0, 1, 1, 2)))),
        wrap=chance.choice(get_args(Wrap)),
    )


def _draw_turn(chance: Random, seams: list[Seam]) -> Turn:
    trouble = None
    if chance.random() < 0.35:
        seam = chance.choice(seams)
        kinds: tuple[Kind, ...] = ("crash", "cancel", "error") if seam == "own" else _ENDS
        trouble = Trouble(seam, chance.randint(1, _USES[seam]), chance.choice(kinds))
    return Turn(
        restart=chance.random() < 0.15,
        poke=chance.random() < 0.2,
        trouble=trouble,
        weather=chance.choice(get_args(Weather)) if chance.random() < 0.15 else "none",
        by_id=chance.random() < 0.4,
        most=chance.randint(1, 3),
    )


def _telling(wish: Wish, wishes: list[Wish], way: Way) -> Wish:
    """Equal requests without ids can't be told apart: give them one question each."""
    alike = [other for other in wishes if other.subject == wish.subject]
    if len(alike) == 1:
        return wish
    simple = tuple(r for r in wish.replies if way == "tool_call" or "edit" not in r.decision)
    return Wish(wish.subject, alike[0].minutes, "steady", simple)
