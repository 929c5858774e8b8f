"""A process of an agent with a chain: `chain_worker.py BROKER NAMESPACE LEDGER [TOOL]`.

Every execution of a tool is a line in the ledger, written before anything else. TOOL never ends in
this process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from aixgo import Agent, App, Context, Message, serve, tool
from aixgo.tools import Chain, Done, Link, NotDone, Resolution

ACK_WAIT = 1.0
PAY_SECONDS = 2.0


def app(namespace: str, path: str, hangs: str = "") -> App:
    """Return the system: a desk with one chain of a tool of each effect."""
    ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def note(name: str, value: str) -> None:
        os.write(ledger, f"{name} {value}\n".encode())
        if name == hangs:
            await asyncio.Event().wait()

    @tool(effect="read")
    async def look(order: str) -> dict[str, Any]:
        await note("look", order)
        return {"order": order, "cents": 1250}

    @tool(effect="idempotent")
    async def mark(order: str, cents: int) -> str:
        await note("mark", order)
        return f"{order}:{cents}"

    async def was_paid(what: str) -> Resolution:
        with open(path) as lines:  # noqa: ASYNC230 - a handful of bytes
            paid = f"pay {what}\n" in lines.read()
        return Done(f"found {what}") if paid else NotDone()

    @tool(effect="once", timeout=PAY_SECONDS, reconcile=was_paid)
    async def pay(what: str) -> str:
        await note("pay", what)
        return f"paid {what}"

    async def desk(message: Message, ctx: Context) -> Any:
        return await ctx.tool("refund", {"order": message.text})

    chain = Chain("refund", [Link(look), Link(mark), Link(pay, {"what": "$.result"})])
    return App([Agent("desk", desk, tools=[chain])], namespace=namespace, ack_wait=ACK_WAIT)


if __name__ == "__main__":
    broker, *rest = sys.argv[1:]
    asyncio.run(serve(app(*rest), broker, health_port=0, grace=1.0))
