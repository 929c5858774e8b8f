"""A service process whose runs wait: `parked_worker.py BROKER NAMESPACE LEDGER [PARK_SECONDS]`.

Every execution of a step is a line in the ledger, written before anything else happens. It says
`ready` on standard output, and at SIGUSR1 what it holds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path

import aixgo.steps.context
from aixgo import Agent, App, Context, Message, serve
from aixgo.clock import now

ACK_WAIT = 10.0
"""Nobody is killed while it works, so nothing is taken over."""


def agents(ledger: int) -> list[Agent]:
    """Return an approval with a step before and one after the question, and an alarm clock."""

    def note(ctx: Context) -> None:
        os.write(ledger, f"{ctx.agent} {ctx.run_id} {ctx.step or '-'}\n".encode())

    async def prepare(message: Message, ctx: Context) -> str:
        note(ctx)
        return f"draft of {message.text[:16].strip()}"

    async def publish(message: Message, ctx: Context) -> str:
        note(ctx)
        return f"published {message.text}"

    async def approve(message: Message, ctx: Context) -> str:
        note(ctx)
        draft = await ctx.call("prepare", message.text)
        answer = await ctx.ask_human(f"publish the {draft.text}?")
        return (await ctx.call("publish", f"{draft.text}: {answer}")).text

    async def alarm(message: Message, ctx: Context) -> list[float]:
        """Sleep until a Unix time; returns it and when it woke."""
        note(ctx)
        until = float(message.data)
        await ctx.sleep(await ctx.record(lambda: until - now()))
        return [until, now()]

    handlers = (prepare, publish, approve, alarm)
    return [Agent(handler.__name__, handler) for handler in handlers]


def app(namespace: str, ledger: str) -> App:
    """Return the system under test."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return App(agents(file), namespace=namespace, ack_wait=ACK_WAIT)


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            sys.stdout.write("ready\n")
            sys.stdout.flush()


def say_what_is_held() -> None:
    """Print the number of tasks, and the resident memory in 10⁶ bytes."""
    status = Path("/proc/self/status").read_text()
    kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    held = {"tasks": len(asyncio.all_tasks()), "megabytes": kilobytes * 1024 / 1e6}
    sys.stdout.write(f"{json.dumps(held)}\n")
    sys.stdout.flush()


async def main() -> None:
    broker, namespace, ledger, *park_seconds = sys.argv[1:]
    if park_seconds:  # so that a test need not sleep for long to be parked
        aixgo.steps.context.PARK_SECONDS = float(park_seconds[0])
    log = logging.getLogger("aixgo")
    log.setLevel(logging.INFO)
    log.addHandler(SayReady())
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say_what_is_held)
    await serve(app(namespace, ledger), broker, health_port=0, grace=2.0)


if __name__ == "__main__":
    asyncio.run(main())
