"""A service process that is frozen: `frozen_worker.py BROKER NAMESPACE DIRECTORY AGENT…`.

What happens is a line in `DIRECTORY/ledger`, written at once: time, process, agent, run, execution,
and `begin` or `over`. Handlers wait for files in the directory, so the test says when
they go on.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aixgo import Agent, App, Context, Message, serve

ACK_WAIT = float(os.environ.get("ACK_WAIT", "2"))
WORKERS, LEAVES = ("plain", "costly", "flow"), ("leaf", "gate")


class Directory:
    """The ledger and the files that let handlers go on."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._ledger = os.open(self._path / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @contextmanager
    def noting(self, ctx: Context) -> Iterator[None]:
        """Write that an execution begins, and that it is over, however it ends."""
        self._note(ctx, "begin")
        try:
            yield
        finally:
            self._note(ctx, "over")

    def _note(self, ctx: Context, what: str) -> None:
        line = f"{time.time():.3f} {os.getpid()} {ctx.agent} {ctx.run_id} {ctx.attempt} {what}\n"
        os.write(self._ledger, line.encode())

    async def wait_for(self, name: str) -> None:
        """Return when the test has made the file."""
        while not (self._path / name).exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)


def agents(directory: Directory) -> list[Agent]:
    """Return two agents that wait, an exclusive one among them, and an orchestrator of others."""

    async def work(message: Message, ctx: Context) -> str:
        with directory.noting(ctx):
            await directory.wait_for(f"{ctx.agent}-{os.getpid()}")
        return f"by {os.getpid()}"

    async def flow(message: Message, ctx: Context) -> str:
        with directory.noting(ctx):
            chosen = await ctx.record(lambda: os.urandom(4).hex())
            first = await ctx.call("leaf", chosen)
            second, third = await ctx.gather(
                ctx.call("gate", first.text), ctx.call("leaf", f"{first.text}!")
            )
            last = await ctx.call("leaf", second.text)
        return f"{last.text} {third.text}"

    async def leaf(message: Message, ctx: Context) -> str:
        with directory.noting(ctx):
            pass
        return f"leaf({message.text})"

    async def gate(message: Message, ctx: Context) -> str:
        with directory.noting(ctx):
            await directory.wait_for("gate")
        return f"gate({message.text})"

    return [
        Agent("plain", work),
        Agent("costly", work, exclusive=True),
        Agent("flow", flow),
        Agent("leaf", leaf),
        Agent("gate", gate),
    ]


def app(namespace: str, directory: str) -> App:
    """Return the system under test."""
    return App(agents(Directory(directory)), namespace=namespace, ack_wait=ACK_WAIT)


def main() -> None:
    broker, namespace, directory, *names = sys.argv[1:]
    system = app(namespace, directory)
    asyncio.run(serve(system, broker, agents=names, health_port=0, grace=0.0))


if __name__ == "__main__":
    main()
