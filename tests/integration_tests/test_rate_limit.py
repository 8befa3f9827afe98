"""A 429 with `Retry-After` is meant for a wallet: all of its calls in the process make a pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conftest import MakeCaller
from placing import OBJECTIVE

from langchain_oneshot_voice import AccessToken, Sandbox, VoiceCallInput
from langchain_oneshot_voice.oneshot.rate_limit import LONGEST_PAUSE, RateLimit
from langchain_oneshot_voice.sandbox import CallScript, Fault

PAUSE = 1.0


def request(which: int) -> VoiceCallInput:
    """A call to a fictional number."""
    return VoiceCallInput(objective=OBJECTIVE, target_number=f"+1415555{3000 + which}")


async def test_all_calls_of_a_wallet_wait_and_another_wallet_does_not(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """One call is told to wait a second: so do the others, one after the other, and no stranger."""
    wallet = make_caller()
    stranger = make_caller(credential=AccessToken(sandbox.access_token))
    await wallet.acall(request(0))  # the wallet has its number, and connections stand
    await stranger.acall(request(1))
    sandbox.inject(Fault("quote", "status_429", retry_after=int(PAUSE)))
    quoted: list[float] = []

    def note(status: int, headers: dict[str, str], body: Any) -> Any:
        quoted.append(time.monotonic())
        return status, headers, body

    sandbox.tamper("quote", note)
    limited = asyncio.create_task(wallet.acall(request(2)))
    await asyncio.to_thread(sandbox.wait_until, lambda: _limited(sandbox) == 1, 10)

    began = time.monotonic()
    others = [asyncio.create_task(wallet.acall(request(3 + which))) for which in range(6)]
    ends = await asyncio.gather(stranger.acall(request(20)), limited, *others)
    assert {result.call_status for result in ends} == {"completed"}

    at_once, *waited = [moment - began for moment in quoted]
    assert at_once < PAUSE - 0.1  # the stranger
    assert len(waited) >= 7  # a price that counts on credits may be asked for again
    assert min(waited) >= PAUSE - 0.1
    assert max(waited) < 2 * PAUSE + 2
    assert max(waited) - min(waited) > 0.1  # they do not come back all at once


def _limited(sandbox: Sandbox) -> int:
    return sum(seen.status == 429 for seen in sandbox.requests)


async def test_outcome_that_the_socket_tells_does_not_wait(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """The pause is for requests; a call that ends meanwhile is heard of at once."""
    sandbox.expect("+14155553001", CallScript(seconds=0.5))
    caller = make_caller()
    await caller.acall(request(0))
    ringing = asyncio.create_task(caller.acall(request(1)))
    await asyncio.to_thread(sandbox.wait_until, lambda: len(sandbox.rings) == 2, 10)
    sandbox.inject(Fault("quote", "status_429", retry_after=4))
    began = time.monotonic()
    limited = asyncio.create_task(caller.acall(request(2)))
    assert (await ringing).call_status == "completed"
    assert time.monotonic() - began < 3
    limited.cancel()
    with pytest.raises(asyncio.CancelledError):
        await limited


async def test_withdrawn_call_does_not_wait_for_its_turn(
    make_caller: MakeCaller, sandbox: Sandbox
) -> None:
    """Whoever has what they want is not kept waiting by a rate limit."""
    sandbox.expect("+14155553000", CallScript(seconds=0.5))

    async def people() -> AsyncIterator[VoiceCallInput]:
        yield request(0)
        await asyncio.to_thread(sandbox.wait_until, lambda: len(sandbox.rings) == 1, 10)
        sandbox.inject(Fault("quote", "status_429", retry_after=20))
        yield request(1)

    began = time.monotonic()
    ends = make_caller().acall_many(people(), stop_when=lambda ended: ended.succeeded)
    came = [getattr(ended.error, "code", None) async for ended in ends]
    assert came == [None, "withdrawn"]
    assert time.monotonic() - began < 10


def test_retry_after_is_hostile_input() -> None:
    """No pause is longer than half a minute, whatever is asked for."""
    limit = RateLimit()
    limit.pause_for(1e9)
    assert LONGEST_PAUSE - 1 < limit.left() <= 2 * LONGEST_PAUSE
    limit.pause_for(0.5)  # a shorter one does not end it
    assert limit.left() > LONGEST_PAUSE - 1


async def test_limit_that_is_said_again_and_again_holds_no_request_for_ever() -> None:
    """A request waits for twice the longest pause, and goes then."""
    limit = RateLimit(longest=0.1)

    async def say_again() -> None:
        while True:
            limit.pause_for(1.0)
            await asyncio.sleep(0.01)

    saying = asyncio.create_task(say_again())
    await asyncio.sleep(0)
    began = time.monotonic()
    await limit.wait()
    saying.cancel()
    assert 0.19 < time.monotonic() - began < 5
