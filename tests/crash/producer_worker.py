"""A process with three producers: `producer_worker.py BROKER NAMESPACE URL`.

`clock` fires every second, `orders` reads another system's stream, `shop` polls URL.
"""

from __future__ import annotations

import asyncio
import sys

from aixgo import Agent, App, Message, serve
from aixgo.agents.handler import Handler

ACK_WAIT = 1.0
STREAM = "OUTSIDE"
PRODUCERS = ("clock", "orders", "shop")


def app(namespace: str, url: str, listener: Handler | None = None) -> App:
    """Return the system; only the test has the listener's real handler."""

    async def elsewhere(message: Message) -> None:
        raise AssertionError("the test serves the listener")

    http = {
        "url": f"{url}/orders?after={{cursor}}",
        "start": 0,
        "items": "$.orders",
        "cursor": "$.next",
        "pages": 20,
        "allow_private": True,
    }
    agents = [
        Agent("clock", role="producer", cron="* * * * * *", missed="all", template="{n}"),
        Agent("orders", role="producer", subject="outside.>", stream=STREAM),
        Agent("shop", role="producer", interval="100ms", http=http),
        Agent("listener", listener or elsewhere, inputs=list(PRODUCERS)),
    ]
    return App(agents, namespace=namespace, ack_wait=ACK_WAIT)


if __name__ == "__main__":
    broker, namespace, url = sys.argv[1:]
    asyncio.run(serve(app(namespace, url), broker, agents=PRODUCERS, health_port=0, grace=1.0))
