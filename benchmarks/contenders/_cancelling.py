"""What the contenders of a cancel share: who is cancelled says when, by datagram.

Times are `time.monotonic`, one clock for all processes of a Linux machine. Standard library only.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from _bout import say

PATIENCE_SECONDS = 10.0


def tell(port: int, what: str) -> None:
    """Say that something happened now; `what` is `asked`, `handler` or `socket`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(f"{what} {time.monotonic()}".encode(), ("127.0.0.1", port))


@dataclass
class Witness(asyncio.DatagramProtocol):
    """Hears what `tell` says."""

    seen: dict[str, asyncio.Queue[float]] = field(
        default_factory=lambda: {what: asyncio.Queue() for what in ("asked", "handler", "socket")}
    )

    def datagram_received(self, data: bytes, sender: object) -> None:
        what, moment = data.decode().split()
        self.seen[what].put_nowait(float(moment))

    async def until(self, what: str) -> float:
        """Return when it happened the next time."""
        return await asyncio.wait_for(self.seen[what].get(), PATIENCE_SECONDS)


Start = Callable[[], Awaitable[Callable[[], Awaitable[object]]]]
"""Begins something that asks the provider; returns how to cancel it."""


async def obey_cancelling(start: Start, port: int) -> None:
    """Cancel what `start` begins whenever the referee asks; return when it hangs up."""
    loop = asyncio.get_running_loop()
    _, witness = await loop.create_datagram_endpoint(Witness, local_addr=("127.0.0.1", port))
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say("ready")
    while line := await commands.readline():
        times: dict[str, list[float]] = {"handler": [], "socket": []}
        for _ in range(json.loads(line)["cancels"]):
            cancel = await start()
            await witness.until("asked")
            began = time.monotonic()
            await cancel()
            for what, taken in times.items():
                taken.append(await witness.until(what) - began)
        say(json.dumps(times))
