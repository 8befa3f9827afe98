"""What one HTTP exchange costs the processor, by the package that it goes over.

    python benchmarks/transport.py [rounds]

The service is a process of its own that answers each POST after a moment. Each round asks each way
in turn: one after the other, and 300 at once. Quote the ratios of the medians.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from langchain_oneshot_voice.oneshot.environment import Environment
from langchain_oneshot_voice.oneshot.transport import Limits, Transport

AT_ONCE, ANSWERS_AFTER = 300, 0.2
BODY = {"objective": "Ask for the opening hours.", "target_number": "+14155550100"}
ANSWER = json.dumps({"request_id": "req_1", "status": "processing", "note": "x" * 500}).encode()
Action = Callable[[], Awaitable[None]]
LIMITS = Limits(connect=30, begin=60, body=60)


async def serve() -> None:
    """Answer whatever is asked, on connections that stay open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(ANSWERS_AFTER if b"slow" in head.split(b"\r\n")[0] else 0)
                start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
                writer.write(start + str(len(ANSWER)).encode() + b"\r\n\r\n" + ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def ours(base_url: str, package: str, path: str, at_once: int) -> float:
    transport = Transport(Environment.at(base_url), package)

    async def ask() -> None:
        await transport.exchange("POST", path, LIMITS, headers={}, body=BODY)

    return await cost(ask, at_once, transport.aclose)


async def one_pool(base_url: str, _package: str, path: str, at_once: int) -> float:
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    client = httpx.AsyncClient(limits=limits, timeout=60, trust_env=False)

    async def ask() -> None:
        (await client.post(base_url + path, json=BODY)).json()

    return await cost(ask, at_once, client.aclose)


async def cost(ask: Action, at_once: int, close: Action) -> float:
    """Milliseconds of processor for one exchange."""
    await asyncio.gather(*(ask() for _ in range(at_once)))  # connect
    times = AT_ONCE // at_once
    began = time.process_time()
    for _ in range(times):
        await asyncio.gather(*(ask() for _ in range(at_once)))
    spent = time.process_time() - began
    await close()
    return 1000 * spent / (times * at_once)


WAYS = {
    "httpx, one pool": (one_pool, "httpx"),
    "httpx, small pools": (ours, "httpx"),
    "httpx2, small pools": (ours, "httpx2"),
    "aiohttp": (ours, "aiohttp"),
}


def main(rounds: int) -> None:
    with subprocess.Popen(
        [sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            port = server.stdout.readline().strip() if server.stdout else ""
            base_url = f"http://127.0.0.1:{port}"
            for path, at_once in (("/quick", 1), ("/slow", AT_ONCE)):
                spent: dict[str, list[float]] = {name: [] for name in WAYS}
                for _ in range(rounds):
                    for name, (ask, package) in WAYS.items():
                        spent[name].append(asyncio.run(ask(base_url, package, path, at_once)))
                first = statistics.median(spent["httpx, one pool"])
                print(f"{at_once} at once, {rounds} rounds; ms of processor, ratio to one pool")
                for name, all_spent in spent.items():
                    median = statistics.median(all_spent)
                    print(f"  {name:<22} {median:6.2f}   {median / first:5.2f}")
        finally:
            server.kill()


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
