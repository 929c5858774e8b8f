"""`aixgo service`: serve some agents of a document until SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from aixgo.cli._options import LogLevel, Namespace, Server, document_of, run_async, server_of
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.process import HEALTH_PORT
from aixgo.hosting.serve import serve
from aixgo.telemetry import logs

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Agents to serve.", show_default=False),
]
FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        envvar="AIXGO_FILE",
        help="The document that declares the system.",
        show_default=False,
    ),
]
RoleOption = Annotated[
    str,
    typer.Option(
        "--role",
        "-r",
        help="Serve all agents of this role instead [env var: AIXGO_ROLE].",
        show_default=False,
    ),
]
Port = Annotated[
    int,
    typer.Option(
        "--health-port",
        envvar="AIXGO_HEALTH_PORT",
        min=0,
        max=65_535,
        help="Port of `/health` and `/ready`; 0 takes a free one.",
    ),
]
Host = Annotated[
    str,
    typer.Option("--health-host", envvar="AIXGO_HEALTH_HOST", help="Address that they listen on."),
]
Form = Annotated[
    str,
    typer.Option("--log-format", help="`json`, `human`, or `auto`: human on a terminal."),
]
Provision = Annotated[
    bool, typer.Option("--provision", help="Declare streams and consumers first (development).")
]
WithParent = Annotated[
    bool, typer.Option("--with-parent", hidden=True, help="Drain when stdin is closed.")
]


def command(
    names: Names = None,
    file: FileOption = None,
    role: RoleOption = "",
    broker: Server = "",
    namespace: Namespace = "",
    health_port: Port = HEALTH_PORT,
    health_host: Host = "127.0.0.1",
    provision: Provision = False,
    log_level: LogLevel = "info",
    log_format: Form = "auto",
    with_parent: WithParent = False,
) -> None:
    """Serve agents of a document as a service: one process, until SIGTERM, then drain.

    Name them, or give a `--role` for all agents of that role; a name counts more than AIXGO_ROLE.
    """
    if log_format not in ("auto", "json", "human"):
        raise ConfigError(f"--log-format {log_format!r} is not known; use auto, json or human")
    logs.configure(log_level, log_format)  # type: ignore[arg-type]  # checked above
    if file is None:
        raise ConfigError("no document: give --file FILE, or set AIXGO_FILE")
    if names and role:
        raise ConfigError("give names or --role, not both")
    document = document_of(file, namespace)
    app = App.from_document(document)
    served = names or agents_of(app, role or os.environ.get("AIXGO_ROLE", ""))
    address = server_of(broker, document)
    if with_parent:
        _drain_with_parent()
    run_async(
        serve(
            app,
            address,
            agents=served,
            provision=provision,
            health_host=health_host,
            health_port=health_port,
            access=document.deployment.access,
        )
    )


def agents_of(app: App, role: str) -> list[str]:
    """Return the names of an app's agents of a role.

    Raises:
        ConfigError: there is none, or no role is given.
    """
    if not role:
        raise ConfigError(
            f"name the agents to serve ({', '.join(app.agents)}), or give --role ROLE"
        )
    found = [name for name, agent in app.agents.items() if agent.spec.role == role]
    if not found:
        used = {agent.spec.role for agent in app.agents.values()}
        raise ConfigError(f"the document has no agent of role {role!r}{did_you_mean(role, used)}")
    return found


def _drain_with_parent() -> None:
    """Drain when the parent closes our stdin, however it ended."""

    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would be held when the process exits
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
