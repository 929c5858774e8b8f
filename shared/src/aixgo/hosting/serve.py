"""`serve()`: agents as a service: one process, one connection, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Generator, Iterable
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.hosting.app import DRAIN_SECONDS, App, System
from aixgo.hosting.http import health_server
from aixgo.telemetry import otel

log = logging.getLogger("aixgo.hosting.serve")
T = TypeVar("T")

HEALTH_PORT = 8081
"""Default port of `/health` and `/ready`."""

WAIT_SECONDS = 30.0
"""For a broker that is started next to its services, or comes back while one of them starts."""


async def serve(
    app: App,
    broker: str,
    *,
    agents: Iterable[str] | None = None,
    provision: bool = False,
    wait: float = WAIT_SECONDS,
    health_host: str = "127.0.0.1",
    health_port: int = HEALTH_PORT,
    grace: float = DRAIN_SECONDS,
    **options: Any,
) -> None:
    """Serve agents of a system until SIGTERM or SIGINT, then drain and return.

    Consumes, decodes, handles and settles; answers `/health`, `/ready` and NATS micro discovery;
    is present in the `presence` bucket. Draining takes no new work, gives what runs `grace` seconds
    and hands the rest over at once. A second signal ends the grace.

    Args:
        broker: address; the connection is restored for ever once it was there.
        agents: names of those to serve; all without it.
        provision: declare streams and consumers first; needs the permission to.
        wait: seconds for which a server that is not there yet is waited for; one that refuses this
            client ends it at once.
        health_port: 0 takes a free port.
        options: those of `open_broker`.

    Raises:
        ConfigError, BrokerError: before anything is served.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    names = list(app.agents) if agents is None else [app.agent(name).name for name in agents]
    title = names[0] if len(names) == 1 else app.name
    with _signals(stop, hurry), otel.configured(title):
        async with AsyncExitStack() as stack:
            connecting = stack.enter_async_context(
                open_broker(broker, name=title, wait=wait, **options)
            )
            connection: Broker | None = await _unless(stop, connecting)
            if connection is None:
                log.info("service.stopped", extra={"agents": names, "reason": "before it began"})
                return
            if provision:
                await app.provision(connection)
            system = System(app, connection, names)
            async with health_server(
                health_host,
                health_port,
                health=lambda: (not _failed(system), {"agents": system.health()}),
                ready=lambda: (
                    connection.connected and not stop.is_set() and all(system.health().values()),
                    {"connected": connection.connected, "agents": system.health()},
                ),
            ) as port:
                await system.start()
                log.info("service.ready", extra={"agents": names, "health_port": port})
                try:
                    await stop.wait()
                finally:
                    log.info("service.draining", extra={"agents": names, "grace": grace})
                    await _drain(system, grace, hurry)
    log.info("service.stopped", extra={"agents": names})


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Return what `work` returns, or cancel it and return None when `stop` is set first."""
    working = asyncio.create_task(work, name="connect")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        stopping.cancel()
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


def _failed(system: System) -> bool:
    return any(service.failure is not None for service in system.services.values())


async def _drain(system: System, grace: float, hurry: asyncio.Event) -> None:
    draining = asyncio.create_task(system.stop(grace), name="drain")
    hurried = asyncio.create_task(hurry.wait(), name="second signal")
    try:
        await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
            await system.stop(0.0)
        else:
            await draining
    finally:
        hurried.cancel()


@contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> Generator[None, None, None]:
    """Set `stop` at the first SIGTERM or SIGINT, `hurry` at the second."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
