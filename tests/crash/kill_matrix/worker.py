"""A service process of the kill matrix, which watches itself and can stand still."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# what a service imports while it starts; here once, before the processes are made
import aixgo_services.llm.agent
import aixgo_services.orchestrator.agent  # noqa: F401
from aixgo import serve
from aixgo.broker import nats  # noqa: F401
from aixgo.broker.open import open_broker
from aixgo.hosting import process as hosting_process
from aixgo.telemetry import logs

from .agents import SERVICES, app
from .doom import Brake, WatchedBroker, watch_process
from .ledger import Ledger


@dataclass(frozen=True)
class Place:
    """Where a process works: the same for all of a system."""

    folder: Path
    broker: str
    namespace: str
    provider: str
    ack_wait: float


def run(place: Place, kind: str) -> None:
    """Serve the agents of a kind until killed; writes what it says to `services.log`."""
    log = os.open(place.folder / "services.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    logs.configure("warning", "json")
    threading.Thread(target=_die_with_parent, daemon=True).start()
    system = app(place.namespace, place.provider, place.ack_wait)
    ledger = Ledger(place.folder / "ledger")
    brake = Brake(kind, place.folder / "orders", ledger)

    @asynccontextmanager
    async def watched(*where: Any, **options: Any) -> AsyncGenerator[WatchedBroker, None]:
        async with open_broker(*where, **options) as opened:
            yield WatchedBroker(opened, system.names, ledger, brake)

    watch_process(ledger)
    hosting_process.open_broker = watched  # type: ignore[attr-defined]  # in this process alone
    asyncio.run(serve(system, place.broker, agents=SERVICES[kind], health_port=0, grace=1.0))


def _die_with_parent() -> None:
    """End when the test does, however it ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
