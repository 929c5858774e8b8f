"""`aixgo call`: call one agent of a running system."""

from __future__ import annotations

from typing import Annotated

import typer

from aixgo.cli._inputs import Inputs
from aixgo.cli._options import (
    Json,
    Server,
    is_terminal,
    namespace_of,
    run_async,
    server_of,
)
from aixgo.cli._sending import Sender
from aixgo.cli._views import choose
from aixgo.client import connect
from aixgo.config.durations import parse_duration
from aixgo.errors import ConfigError
from aixgo.telemetry import logs, otel

Name = Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")]
Text = Annotated[
    str, typer.Argument(metavar="TEXT", help="The message; `@file` and `-` as for `aixgo run`.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", help="Time for the answer, such as `30s` or `5m`.")
]
Space = Annotated[
    str, typer.Option("--namespace", "-n", envvar="AIXGO_NAMESPACE", help="Of the system.")
]


def command(
    agent: Name,
    text: Text,
    broker: Server = "",
    timeout: Timeout = "5m",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Call an agent of a running system and show its answer."""
    address = server_of(broker)
    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise ConfigError(f"--timeout: {error}") from None
    if seconds <= 0:
        raise ConfigError(f"--timeout {timeout} leaves no time; give more than 0s")
    logs.configure("error")
    inputs = Inputs([text])
    if not run_async(_call(agent, inputs, address, namespace_of(namespace), seconds, json=json)):
        raise typer.Exit(1)


async def _call(
    agent: str, inputs: Inputs, address: str, namespace: str, timeout: float, *, json: bool
) -> bool:
    view = choose(json=json, terminal=is_terminal())
    with otel.configured("aixgo-call"):
        async with connect(address, namespace=namespace, source="aixgo-call") as client:
            return await Sender(client, agent, view, timeout=timeout).send_all(inputs)
