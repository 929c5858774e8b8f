"""A service process with an agent that remembers: `session_worker.py BROKER NAMESPACE LEDGER`.

Each answer of its model is a line in the ledger. It says `ready` on standard output.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from aixgo import Agent, App, Context, Message, serve
from aixgo.models import ChatMessage

ACK_WAIT = 1.0
LARGE = 300_000
"""Characters of every third message: an entry of several records, which a kill can leave apart."""


def app(namespace: str, ledger: str = os.devnull) -> App:
    """Return the system under test: an agent that answers with how much it remembers."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def answer(message: Message, ctx: Context) -> str:
        """Stand for a model whose answer depends on all that it is given."""
        os.write(file, f"{ctx.run_id}\n".encode())
        return f"answer to {message.text}"

    async def desk(message: Message, ctx: Context) -> str:
        before = await ctx.session.history()
        asked = f"{message.text} after {len(before)}"
        # its request has the history in it: another one would be a ReplayMismatch
        reply = await ctx.call("answer", asked, meta={"session": None})
        number = int(message.text)
        said = f"{number} ".ljust(LARGE if number % 3 == 0 else 0)
        await ctx.session.append(
            ChatMessage(role="user", content=said),
            ChatMessage(role="assistant", content=reply.text),
        )
        return reply.text

    retry = {"max_attempts": 15, "max_deaths": 100}
    agents = [Agent("answer", answer, retry=retry), Agent("desk", desk, retry=retry)]
    return App(agents, namespace=namespace, ack_wait=ACK_WAIT)


class SayReady(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "service.ready":
            sys.stdout.write("ready\n")
            sys.stdout.flush()


async def main() -> None:
    broker, namespace, ledger = sys.argv[1:]
    log = logging.getLogger("aixgo")
    log.setLevel(logging.INFO)
    log.addHandler(SayReady())
    await serve(app(namespace, ledger), broker, health_port=0, grace=1.0)


if __name__ == "__main__":
    asyncio.run(main())
