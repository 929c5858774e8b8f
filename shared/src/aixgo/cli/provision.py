"""`aixgo provision`: declare the streams, consumers and buckets of a system on a server."""

from __future__ import annotations

from typing import Annotated

import typer

from aixgo.broker import Change
from aixgo.broker.open import open_broker
from aixgo.cli._options import Deployable, Json, Namespace, Server, server_of, system_of
from aixgo.cli._terminal import write, write_json
from aixgo.config.servers import Access
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.permissions import configuration, users
from aixgo.hosting.process import run as run_process
from aixgo.telemetry import logs

Replicas = Annotated[
    int,
    typer.Option("--replicas", min=1, max=5, help="Copies of each stream in a cluster: 1, 3 or 5."),
]

PowerSafe = Annotated[
    bool,
    typer.Option(
        "--power-safe",
        help="Fewer writes for the same safety, on a server with sync_interval: always.",
    ),
]

Permissions = Annotated[
    str,
    typer.Option(
        "--permissions",
        help="Declare nothing, but write the users of nats-server's configuration with what each "
        "service may do: `users` with passwords, or `nkeys`.",
    ),
]

_MARKS = {"created": "+", "updated": "~", "unchanged": "="}


def command(
    file: Deployable,
    broker: Server = "",
    namespace: Namespace = "",
    replicas: Replicas = 1,
    power_safe: PowerSafe = False,
    permissions: Permissions = "",
    json: Json = False,
) -> None:
    """Create or update what a system's agents need on the server, and say what changed.

    Run it before services start, and after the system changed; it deletes nothing.
    """
    logs.configure("warning")
    app, deployment = system_of(file, namespace)
    if permissions:
        _write_permissions(app, permissions)
        return
    address = server_of(broker or deployment.broker)
    app.power_safe |= power_safe
    changes = run_process(_provision(app, address, replicas, deployment.access))
    for change in changes:
        _write(change, json=json)
    if not json:
        counts = [
            f"{sum(change.action == action for change in changes)} {action}" for action in _MARKS
        ]
        write(f"namespace {app.names.namespace!r}: {', '.join(counts)}")


def _write_permissions(app: App, kind: str) -> None:
    if kind not in ("users", "nkeys"):
        raise ConfigError(f"--permissions {kind!r} is not known; use users or nkeys")
    write(configuration(users(app), nkeys=kind == "nkeys"), end="")


async def _provision(app: App, address: str, replicas: int, access: Access) -> list[Change]:
    async with open_broker(address, name="aixgo-provision", access=access) as broker:
        return await app.provision(broker, replicas=replicas)


def _write(change: Change, *, json: bool) -> None:
    if json:
        fields = {key: list(pair) for key, pair in change.fields.items()}
        write_json({"what": change.what, "action": change.action, "fields": fields})
        return
    details = ", ".join(f"{key}: {old} → {new}" for key, (old, new) in change.fields.items())
    write(f"{_MARKS[change.action]} {change.what} {change.action}{f' ({details})' * bool(details)}")
