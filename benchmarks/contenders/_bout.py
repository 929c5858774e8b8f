"""What every contender shares: it opens what it needs, then answers the referee's commands.

A contender is a process that stays warm while the others are measured, so that rounds can be
interleaved. Standard library only: it also runs in the peers' environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

PAYLOAD = "x" * 1024
"""The body of every call and of every answer: 1 kB of text."""

Call = Callable[[], Awaitable[Any]]


async def bout(call: Call, seconds: float, at_once: int) -> dict[str, float]:
    """Repeat `call` from `at_once` tasks for so long; returns calls/s and latencies in seconds."""
    clock = time.perf_counter
    latencies: list[float] = []

    async def repeat() -> None:
        while True:
            began = clock()
            if began > until:
                return
            await call()
            latencies.append(clock() - began)

    start = clock()
    until = start + seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(repeat())
    took = clock() - start
    latencies.sort()
    return {
        "rate": len(latencies) / took,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
    }


async def obey(call: Call) -> None:
    """Measure `call` whenever the referee asks; return when it hangs up."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say("ready")
    while line := await commands.readline():
        say(json.dumps(await bout(call, **json.loads(line))))


def say(line: str) -> None:
    """Tell the referee something."""
    print(line, flush=True)


def check(answer: object) -> None:
    """Refuse to be measured on a wrong answer."""
    if answer != PAYLOAD:
        raise SystemExit(f"wrong answer: {answer!r:.80}")
