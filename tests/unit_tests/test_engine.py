"""One loop for everyone: any thread, any loop, any child process."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from langchain_oneshot_voice.engine import Engine

COLOUR = contextvars.ContextVar("COLOUR", default="none")


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine of the test's own."""
    made = Engine()
    yield made
    made.stop()


async def where() -> int:
    """The thread that this runs on."""
    await asyncio.sleep(0)
    return threading.get_ident()


def test_call_from_a_plain_thread(engine: Engine) -> None:
    """Without a loop of one's own a flow is run to its end on the engine's thread."""
    assert engine.call(where) != threading.get_ident()


async def test_call_inside_a_running_loop(engine: Engine) -> None:
    """A blocking call works where a loop is running already, as in a notebook."""
    assert engine.call(where) != threading.get_ident()


async def test_acall_from_another_loop(engine: Engine) -> None:
    """Awaiting from a loop of one's own runs on the same one thread."""
    assert await engine.acall(where) == engine.call(where)


def test_all_threads_and_loops_share_one_loop(engine: Engine) -> None:
    """Eight threads, half with loops of their own, are all carried to one thread."""
    seen: list[int] = []

    def work(n: int) -> None:
        seen.append(asyncio.run(engine.acall(where)) if n % 2 else engine.call(where))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert len(set(seen)) == 1


async def test_flow_may_ask_for_another(engine: Engine) -> None:
    """A flow that awaits another one does not wait for itself."""

    async def outer() -> int:
        return await engine.acall(where)

    assert await engine.acall(outer) == engine.call(where)


def test_blocking_call_on_the_engines_thread_is_refused(engine: Engine) -> None:
    """A flow that would block its own loop is told so instead of waiting for ever."""

    async def blocks() -> None:
        engine.call(where)

    with pytest.raises(RuntimeError):
        engine.call(blocks)


async def test_context_travels(engine: Engine) -> None:
    """Context variables of the caller are seen by the flow, sync and async."""

    async def colour() -> str:
        return COLOUR.get()

    COLOUR.set("green")

    assert engine.call(colour) == "green"
    assert await engine.acall(colour) == "green"


async def test_cancelling_the_caller_cancels_the_flow(engine: Engine) -> None:
    """A cancelled caller's flow is cancelled, and has stopped when the caller goes on."""
    began, ended = threading.Event(), threading.Event()

    async def flow() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    task = asyncio.create_task(engine.acall(flow))
    await asyncio.to_thread(began.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()


class _InterruptError(BaseException):
    """Like KeyboardInterrupt, which pytest would take for its own."""


def test_base_exception_comes_out_and_the_engine_goes_on(engine: Engine) -> None:
    """Whatever a flow raises comes out of the call, and the next call works."""

    async def interrupted() -> None:
        raise _InterruptError

    with pytest.raises(_InterruptError):
        engine.call(interrupted)

    assert engine.call(where) != threading.get_ident()


async def test_what_ends_one_flow_leaves_the_others(engine: Engine) -> None:
    """A flow that raises what ends an event loop does not take another's call with it."""
    go_on = threading.Event()

    async def patient() -> str:
        await asyncio.to_thread(go_on.wait, 5)
        return "done"

    async def exits() -> None:
        raise SystemExit(3)

    waiting = asyncio.create_task(engine.acall(patient))
    await asyncio.sleep(0)
    with pytest.raises(SystemExit):
        engine.call(exits)
    go_on.set()

    assert await waiting == "done"


def test_interrupt_of_the_waiting_thread_cancels_the_flow() -> None:
    """Ctrl-C while a call is waited for stops the call, and the process ends."""
    script = """
import asyncio, signal, os, sys, threading
from langchain_oneshot_voice.engine import Engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
engine, ended = Engine(), threading.Event()
def waits_for_this_flow():
    frame = sys._current_frames()[threading.main_thread().ident]
    return frame.f_code.co_name == "wait" and frame.f_back.f_back.f_code.co_name == "call"
async def flow():
    try:
        while not waits_for_this_flow():
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
    finally:
        ended.set()
try:
    engine.call(flow)
except KeyboardInterrupt:
    assert ended.wait(5)
    engine.stop()
    print("stopped")
"""
    assert _run(script) == "stopped"


def test_shared_object_is_made_once_and_closed_at_the_end(engine: Engine) -> None:
    """What is shared is one object per key, and is closed when the engine stops."""
    closed: list[str] = []

    class Pool:
        async def aclose(self) -> None:
            closed.append("pool")

    async def pool() -> Pool:
        return await engine.shared("pool", Pool)

    assert engine.call(pool) is engine.call(pool)
    engine.stop()
    assert closed == ["pool"]


def test_engine_starts_anew_after_a_stop(engine: Engine) -> None:
    """A call after a stop starts a new loop, with nothing shared from before."""

    async def thing() -> object:
        return await engine.shared("thing", object)

    before = engine.call(thing)
    engine.stop()

    assert engine.call(thing) is not before


def test_stop_without_start_does_nothing() -> None:
    """An engine that was never used has nothing to stop."""
    Engine().stop()


def test_forked_child_has_an_engine_of_its_own() -> None:
    """A child of a process whose engine runs starts its own, and the parent's goes on."""
    script = """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from langchain_oneshot_voice.engine import ENGINE
async def pid():
    return os.getpid()
assert ENGINE.call(pid) == os.getpid()
child = os.fork()
if child == 0:
    assert ENGINE.call(pid) == os.getpid()
    raise SystemExit(0)  # through the whole of an interpreter's exit
_, status = os.waitpid(child, 0)
assert status == 0, status
assert ENGINE.call(pid) == os.getpid()
print("both")
"""
    assert _run(script) == "both"


def test_import_starts_nothing() -> None:
    """Importing the package starts no thread."""
    script = "import threading, langchain_oneshot_voice; print(threading.active_count())"

    assert _run(script) == "1"


def _run(script: str) -> str:
    done = subprocess.run(  # noqa: S603 - the script is the test's own
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


LOOKS_WHILE_GARBAGE_IS_COLLECTED = """
import gc, threading
from langchain_oneshot_voice.main_thread import main_thread_leaving

class Garbage:
    def __init__(self):
        self.me = self
        self.local = threading.local()  # goes away under a lock of the interpreter

over = threading.Event()
for _ in range(20):  # a look makes an object for each of them
    threading.Thread(target=over.wait).start()
for soon in range(1, 60):
    gc.disable()
    gc.collect()
    for _ in range(10):
        Garbage()
    gc.set_threshold(gc.get_count()[0] + soon)  # collects when so many more objects are made
    gc.enable()
    main_thread_leaving()
over.set()
assert gc.isenabled()
print("went on")
"""


def test_look_at_the_main_thread_does_not_lock_up_the_interpreter() -> None:
    """A collection inside it does in Python 3.11, whatever is collected there."""
    run = [sys.executable, "-c", LOOKS_WHILE_GARBAGE_IS_COLLECTED]
    done = subprocess.run(run, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own program
    assert (done.stdout, done.stderr) == ("went on\n", "")
