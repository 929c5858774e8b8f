"""`serve()`: agents as a service: one process, one connection, until SIGTERM."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aixgo.hosting.app import App, System
from aixgo.hosting.process import DRAIN_SECONDS, HEALTH_PORT, WAIT_SECONDS, run_service

__all__ = [
    "serve",
]


async def serve(
    app: App,
    broker: str,
    *,
    agents: Iterable[str] | None = None,
    provision: bool = False,
    upkeep: bool = True,
    wait: float = WAIT_SECONDS,
    health_host: str = "127.0.0.1",
    health_port: int = HEALTH_PORT,
    grace: float = DRAIN_SECONDS,
    **options: Any,
) -> None:
    """Serve agents of a system until SIGTERM or SIGINT, then drain and return.

    Consumes, decodes, handles and settles; answers `/health`, `/ready` and NATS micro discovery; is
    present in the `presence` bucket. Draining takes no new work, allows what runs `grace` seconds
    and hands the rest over at once. A second signal ends the grace. Several in one loop hear each
    signal; run it with `aixgo.hosting.process.run` to end also when a handler swallows its
    cancellation.

    Args:
        broker: address; the connection is restored for ever once it was there.
        agents: names of those to serve; all without it.
        provision: declare streams and consumers first; needs the permission to.
        upkeep: remove old results and look for lost calls as well; one process of a system has to,
            and on a server with permissions only the user `upkeep` may.
        wait: seconds for which a server that is not there yet is waited for; one that refuses this
            client ends it at once.
        health_port: 0 takes a free port.
        options: those of `open_broker`.

    Raises:
        ConfigError, BrokerError: before anything is served; `ConfigError` also outside of the main
            thread, which alone gets signals.
    """
    names = app.served(agents)
    await run_service(
        names[0] if len(names) == 1 else app.name,
        broker,
        lambda connection: System(app, connection, names, upkeep=upkeep),
        prepare=app.provision if provision else None,
        wait=wait,
        health_host=health_host,
        health_port=health_port,
        grace=grace,
        about={"agents": names},
        **options,
    )
