"""`aixgo service`: serve some agents of a document until SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from aixgo.cli._options import LogLevel, Namespace, Server, server_of, system_of
from aixgo.config.deployment import Deployment
from aixgo.config.reference import is_reference
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.process import HEALTH_PORT
from aixgo.hosting.process import run as run_process
from aixgo.hosting.serve import serve
from aixgo.telemetry import logs

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODULE:APP] NAME...",
        help="Agents to serve [env var: AIXGO_AGENTS]; before them the `App` of a Python module, "
        "when no document declares the system.",
        show_default=False,
    ),
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
Upkeep = Annotated[
    str,
    typer.Option(
        "--upkeep",
        envvar="AIXGO_UPKEEP",
        help="Remove old results and look for lost calls: `yes`, `no`, or `only`, which serves no "
        "agent. One process of a system has to.",
    ),
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
    upkeep: Upkeep = "yes",
    log_level: LogLevel = "info",
    log_format: Form = "auto",
    with_parent: WithParent = False,
) -> None:
    """Serve agents of a system as a service: one process, until SIGTERM, then drain.

    Name them, or add `--role` for all agents of that role. A name counts more than AIXGO_AGENTS,
    and that more than AIXGO_ROLE. The agents of a Python `App` are all served without a name.
    """
    if log_format not in ("auto", "json", "human"):
        raise ConfigError(f"--log-format {log_format!r} is not known; use auto, json or human")
    logs.configure(log_level, log_format)  # type: ignore[arg-type]  # checked above
    app, deployment, named = _system(list(names or ()), file, namespace)
    if named and role:
        raise ConfigError("give names or --role, not both")
    if upkeep not in ("yes", "no", "only"):
        raise ConfigError(f"--upkeep {upkeep!r} is not known; use yes, no or only")
    served = [] if upkeep == "only" else named or agents_of(app, role)
    address = server_of(broker or deployment.broker)
    if with_parent:
        _drain_with_parent()
    run_process(
        serve(
            app,
            address,
            agents=served,
            provision=provision,
            upkeep=upkeep != "no",
            health_host=health_host,
            health_port=health_port,
            access=deployment.access,
        )
    )


def _system(
    names: list[str], file: Path | None, namespace: str
) -> tuple[App, Deployment, list[str]]:
    """Return the system, its deployment, and the names that are left.

    Raises:
        ConfigError: there is neither a document nor an app, or it is wrong.
    """
    if names and is_reference(names[0]):
        app, deployment = system_of(names[0], namespace)
        return app, deployment, names[1:] or list(app.agents)
    if file is None:
        raise ConfigError(
            "no system: give --file FILE, set AIXGO_FILE, or name an app as `module:app`"
        )
    return *system_of(file, namespace), names


def agents_of(app: App, role: str) -> list[str]:
    """Return the names of an app's agents of a role, or those that the environment says.

    Raises:
        ConfigError: there is none, or neither a name nor a role is given.
    """
    if not role and (named := os.environ.get("AIXGO_AGENTS", "").replace(",", " ").split()):
        return named
    role = role or os.environ.get("AIXGO_ROLE", "")
    if not role:
        raise ConfigError(
            f"name the agents to serve ({', '.join(app.agents)}), or give --role ROLE"
        )
    found = [name for name, agent in app.agents.items() if agent.spec.role == role]
    if not found:
        used = {agent.spec.role for agent in app.agents.values()}
        raise ConfigError(f"the system has no agent of role {role!r}{did_you_mean(role, used)}")
    return found


def _drain_with_parent() -> None:
    """Drain when the parent closes our stdin, however it ended."""

    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would be held when the process exits
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
