"""`aixgo call`: call one agent of a running system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from aixgo.cli._asking import Desk
from aixgo.cli._inputs import Inputs
from aixgo.cli._options import (
    Data,
    Json,
    Server,
    Session,
    Space,
    Timeout,
    User,
    namespace_of,
    seconds_of,
    server_of,
    without_secrets,
)
from aixgo.cli._sending import Sender
from aixgo.cli._terminal import is_terminal, write, write_json
from aixgo.cli._views import choose
from aixgo.client import connect
from aixgo.hosting.process import run as run_process
from aixgo.telemetry import logs, otel

Name = Annotated[str, typer.Argument(metavar="AGENT", help="Name of the agent.")]
Text = Annotated[
    str,
    typer.Argument(
        metavar="TEXT",
        help="The message; `@file` and `-` as for `aixgo run`; `--data` instead gives JSON.",
    ),
]
Detach = Annotated[
    bool,
    typer.Option("--detach", "-d", help="Do not wait: write the run's id once the broker has it."),
]

DEFAULT = "5m"


def command(
    agent: Name,
    text: Text = "",
    data: Data = "",
    broker: Server = "",
    timeout: Timeout = DEFAULT,
    detach: Detach = False,
    session: Session = "",
    user: User = "",
    namespace: Space = "default",
    json: Json = False,
) -> None:
    """Call an agent of a running system and show its answer."""
    address, space, seconds = server_of(broker), namespace_of(namespace), seconds_of(timeout)
    logs.configure("error")
    inputs = Inputs([text] if text else [], data, option="TEXT")
    whom = {"session": session, "user": user}
    if detach:
        run_process(_send(agent, inputs, address, space, seconds, whom, json=json))
        return
    if not run_process(_call(agent, inputs, address, space, seconds, whom, json=json)):
        raise typer.Exit(1)


async def _call(
    agent: str,
    inputs: Inputs,
    address: str,
    namespace: str,
    timeout: float,
    whom: Mapping[str, str],
    *,
    json: bool,
) -> bool:
    view = choose(json=json, terminal=is_terminal())
    desk = Desk(without_secrets(address), namespace, stdin_is_input=inputs.reads_stdin, json=json)
    with otel.configured("aixgo-call"):
        async with connect(address, namespace=namespace, source="aixgo-call") as client:
            sender = Sender(client, agent, view, desk, timeout=timeout, **whom)
            return await sender.send_all(inputs)


async def _send(
    agent: str,
    inputs: Inputs,
    address: str,
    namespace: str,
    timeout: float,
    whom: Mapping[str, str],
    *,
    json: bool,
) -> None:
    """Begin a run for each message and write its id; `aixgo runs tail` follows it."""
    with otel.configured("aixgo-call"):
        async with connect(address, namespace=namespace, source="aixgo-call") as client:
            async for message in inputs:
                run = await client.send(
                    agent, message.data, timeout=timeout, session=whom["session"], user=whom["user"]
                )
                if json:
                    write_json({"input": message.name, "agent": agent, "run_id": run})
                else:
                    write(run)
