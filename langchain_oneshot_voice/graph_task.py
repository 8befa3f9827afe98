"""GraphTask: the LangGraph task in which a call is requested.

A task is one execution of one node. LangGraph runs a task again after an interrupt, an error or a
crash, with the same namespace and path. This module does not import LangGraph; it reads the run's
config. `checkpoint_ns`, `thread_id`, `langgraph_step` and `langgraph_path` are public names of
LangGraph; its private names are in `PRIVATE_NAMES`.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.runnables import RunnableConfig

SCRATCHPAD = "__pregel_scratchpad"
CHECKPOINTER = "__pregel_checkpointer"
RESUME_MAP = "__pregel_resume_map"
DURABILITY = "__pregel_durability"
CHECKPOINT_MAP = "checkpoint_map"

PRIVATE_NAMES = (SCRATCHPAD, CHECKPOINTER, CHECKPOINT_MAP)
"""Private config keys that every task has in LangGraph 1.2."""

_INSIDE_A_GRAPH = "__pregel_"


@dataclass(frozen=True, slots=True)
class GraphTask:
    """One execution of one node.

    Attributes:
        thread: the thread id; `None` without a checkpointer.
        namespace: the checkpoint namespace, `node:task_id`. In a subgraph, the parents' namespaces
            come first.
        position: identifies the task in every re-run, even if a parent node starts its subgraph
            again. It combines the root's task, the node names below it, the step and the path.
        configurable: the `configurable` part of the config, which LangGraph fills.
    """

    thread: str | None
    namespace: str
    position: str
    configurable: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, config: RunnableConfig | None) -> GraphTask | None:
        """Return the task of a run's config; `None` outside a graph."""
        config = config or {}
        configurable = config.get("configurable") or {}
        namespace = configurable.get("checkpoint_ns")
        inside = any(name.startswith(_INSIDE_A_GRAPH) for name in configurable)
        if not inside or not isinstance(namespace, str) or not namespace:
            return None
        thread = configurable.get("thread_id")
        return cls(
            thread=None if thread is None else str(thread),
            namespace=namespace,
            position=_position(namespace, config.get("metadata") or {}),
            configurable=configurable,
        )

    def count(self, request: str) -> int:
        """Count this request; return how many equal ones came before it in this run of the task.

        If a later LangGraph lacks the names that identify the run, return 0. Then two equal
        requests in one run count as one call, which is safe: it is never paid twice.
        """
        scratchpad = self.configurable.get(SCRATCHPAD)
        task = getattr(scratchpad, "get_null_resume", None)
        run = getattr(scratchpad, "interrupt_counter", None)
        if task is None or run is None:
            return 0
        with _LOCK:
            # A retry of the node keeps the task and replaces the counter: count from 0 again.
            counted_run, counts = _COUNTS.get(task, (None, Counter()))
            if counted_run is not run:
                counts = Counter()
                _COUNTS[task] = (run, counts)
            counts[request] += 1
            return counts[request] - 1


_LOCK = threading.Lock()
_COUNTS: weakref.WeakKeyDictionary[Any, tuple[Any, Counter[str]]] = weakref.WeakKeyDictionary()


def _position(namespace: str, metadata: Mapping[str, Any]) -> str:
    """Return the namespace without the ids that change when a parent runs its subgraph again."""
    root, *inner = namespace.split("|")
    if not inner:
        return root
    names = [part.partition(":")[0] for part in inner if not part.isdigit()]
    step, path = metadata.get("langgraph_step"), metadata.get("langgraph_path")
    return json.dumps([root, names, step, path], default=str)
