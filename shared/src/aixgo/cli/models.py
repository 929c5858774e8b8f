"""`aixgo models`: the servers of local models that run in the background; list and stop them."""

from __future__ import annotations

from typing import Annotated

import typer

from aixgo.cli._options import Json
from aixgo.cli._people import columns, group
from aixgo.cli._terminal import write, write_json
from aixgo.config.durations import format_duration
from aixgo.errors import ConfigError, ModelUnavailable
from aixgo.models.local.model import IDLE_SECONDS
from aixgo.models.local.servers import LocalServer, local_servers, stop_local_server

verbs = group("models", "Look at the servers of local models on this machine, and stop them.")

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Such as `smollm2`; all that run without it.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Stop it although it is in use.")]


@verbs.command("ls")
def ls(json: Json = False) -> None:
    """List the servers that run: process, port, memory, and whether a process uses it."""
    found = local_servers()
    if json:
        for one in found:
            write_json(
                {
                    "model": f"local/{one.model}",
                    "pid": one.pid,
                    "port": one.port,
                    "in_use": one.in_use,
                    "memory_bytes": one.memory,
                }
            )
        return
    if not found:
        write("no server of a local model runs")
        return
    rows = [("MODEL", "PID", "PORT", "MEMORY", "IN USE"), *map(_row, found)]
    for line in columns([*rows]):
        write(line)


@verbs.command("stop")
def stop(model: Model = "", force: Force = False, json: Json = False) -> None:
    """Stop a server, or all; whatever needs it next starts another one."""
    running = {one.model: one for one in local_servers()}
    wanted = model.removeprefix("local/")
    if wanted and wanted not in running:
        there = ", ".join(running) or "none"
        raise ConfigError(f"no server of local/{wanted} runs; running: {there}")
    chosen = [running[wanted]] if wanted else [*running.values()]
    used = [one.model for one in chosen if one.in_use]
    if used and not force:
        raise ConfigError(
            f"local/{used[0]} is in use by a process; end that first, or give --force"
        )
    for one in chosen:
        try:
            stop_local_server(one.model)
        except TimeoutError as error:
            raise ModelUnavailable(f"local/{one.model}: {error}", provider="local") from None
        if json:
            write_json({"model": f"local/{one.model}", "pid": one.pid, "stopped": True})
        else:
            write(f"local/{one.model} stopped")
    if not chosen and not json:
        write("no server of a local model runs")


def _row(one: LocalServer) -> tuple[str, ...]:
    return (
        f"local/{one.model}",
        str(one.pid),
        str(one.port),
        f"{one.memory / 1e6:,.0f} MB" if one.memory else "?",
        "yes" if one.in_use else f"no; ends {format_duration(IDLE_SECONDS)} after its last use",
    )
