"""Processes of a cashier: `refund_worker.py BROKER NAMESPACE PROVIDER`.

Each line that it reads starts one process and is answered with its number. They are forked from
this one, which has everything imported, so a process that was killed is replaced within
milliseconds. When its input ends, so does it, but not those that it started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import aiohttp

import aixgo.broker.nats  # noqa: F401 - loaded before the processes are forked
from aixgo import Agent, App, Context, Message, serve, tool
from aixgo.tools import Done, NotDone, Resolution, ToolContext, ToolNotDone

ACK_WAIT = 1.0
TIMEOUT = 1.0
"""Of the tool; the provider's slowest answer takes a tenth of it."""
PATIENT = {"max_attempts": 15}
"""A machine that is too slow for a reservation is no reason to refund nobody."""


class Provider:
    """The client of a payment provider that pays whatever it is told."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def refund(self, order: str, ctx: ToolContext) -> str:
        """Pay the order's money back."""
        body = {"order": order, "key": ctx.idempotency_key, "pid": os.getpid()}
        try:
            async with self.session.post(f"{self._url}/refunds", json=body) as answer:
                answer.raise_for_status()
                return str((await answer.json())["receipt"])
        except aiohttp.ClientConnectorError as error:
            raise ToolNotDone(f"the provider was not reached: {error}") from error

    async def reconcile(self, ctx: ToolContext) -> Resolution:
        """Ask the provider what it knows of the key."""
        async with self.session.get(f"{self._url}/refunds/{ctx.idempotency_key}") as answer:
            if answer.status == 404:
                return NotDone()
            answer.raise_for_status()
            return Done(str((await answer.json())["receipt"]))


def app(namespace: str, url: str) -> App:
    """Return the system under test: one tool has a hook, and of the other a person is asked."""
    provider = Provider(url)
    tools = [
        tool(name="sure", timeout=TIMEOUT, retry=PATIENT, reconcile=provider.reconcile)(
            provider.refund
        ),
        tool(name="unsure", timeout=TIMEOUT, retry=PATIENT)(provider.refund),
    ]

    async def cashier(message: Message, ctx: Context) -> str:
        approved = await ctx.record(lambda: f"{message.text} by {os.getpid()}")
        receipt = await ctx.tool(message.text.split()[0], {"order": message.text})
        return f"{receipt} {await ctx.record(lambda: approved.startswith(message.text))}"

    agent = Agent("cashier", cashier, tools=tools, concurrency=256)
    return App([agent], namespace=namespace, ack_wait=ACK_WAIT)


def main() -> None:
    broker, namespace, url = sys.argv[1:]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are killed
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            system = app(namespace, url)
            asyncio.run(serve(system, broker, health_port=0, grace=1.0))
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
