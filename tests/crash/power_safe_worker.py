"""A service process in power-safe mode: `power_safe_worker.py BROKER LEDGER MOMENT NOTES`.

Every execution is a line in the ledger, written before anything else happens: Unix time at which
the worker looked for a result, agent, run and step. MOMENT is the time between the two looks for a
lost call, seconds; NOTES is `noting`, or `forgetful` to show what would be lost. It says `ready`
and `recovered` on standard output.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextvars import ContextVar
from typing import Any

import aixgo.steps.context
from aixgo import Agent, App, Context, Message, serve
from aixgo.calls.call_notes import CallNotes
from aixgo.calls.upkeep import recovery
from aixgo.calls.worker import Worker
from aixgo.clock import now

SPACE = "power"
ACK_WAIT = 2.0
LOOKED = ContextVar[float]("looked")
_outcome = Worker._outcome


def agents(ledger: int) -> list[Agent]:
    """Return an order of two steps, an approval with a question between them, and a sleeper."""

    def note(ctx: Context) -> None:
        os.write(
            ledger, f"{LOOKED.get():.6f} {ctx.agent} {ctx.run_id} {ctx.step or '-'}\n".encode()
        )

    async def reserve(message: Message, ctx: Context) -> str:
        note(ctx)
        return f"reserved {message.text}"

    async def charge(message: Message, ctx: Context) -> str:
        note(ctx)
        return f"charged, {message.text}"

    async def order(message: Message, ctx: Context) -> str:
        return (await ctx.call("charge", await _reserved(message, ctx))).text

    async def approve(message: Message, ctx: Context) -> str:
        reserved = await _reserved(message, ctx)
        answer = await ctx.ask_human(f"{reserved}?")
        return (await ctx.call("charge", f"{reserved}: {answer}")).text

    async def sleeper(message: Message, ctx: Context) -> str:
        reserved = await _reserved(message, ctx)
        await ctx.sleep(1.0)
        return (await ctx.call("charge", reserved)).text

    async def _reserved(message: Message, ctx: Context) -> str:
        return (await ctx.call("reserve", message.text)).text

    handlers = (reserve, charge, order, approve, sleeper)
    return [Agent(handler.__name__, handler, concurrency=256) for handler in handlers]


def app(ledger: str) -> App:
    """Return the system under test."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    return App(agents(file), namespace=SPACE, ack_wait=ACK_WAIT, power_safe=True)


async def watched(self: Worker, work: Any) -> Any:
    """Remember when it was looked for a result; the handler runs in the same task."""
    LOOKED.set(now())
    return await _outcome(self, work)


async def forgetful(*_: object, **__: object) -> bool:
    """Note nothing."""
    return False


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        if record.msg == "call.recovered":
            sys.stdout.write("recovered\n")
            sys.stdout.flush()


async def main() -> None:
    broker, ledger, moment, notes = sys.argv[1:]
    aixgo.steps.context.PARK_SECONDS = 0.1
    recovery.MOMENT_SECONDS = float(moment)
    if notes == "forgetful":
        CallNotes.note = forgetful  # type: ignore[method-assign]  # in this process alone
    Worker._outcome = watched  # type: ignore[method-assign]  # the same
    log = logging.getLogger("aixgo")
    log.setLevel(logging.INFO)
    log.addHandler(SayReady())
    await serve(app(ledger), broker, health_port=0, grace=2.0)


if __name__ == "__main__":
    asyncio.run(main())
