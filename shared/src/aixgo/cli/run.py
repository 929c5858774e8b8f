"""`aixgo run`: a system in this process, or a client of one that is served elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from aixgo.cli._inputs import Inputs
from aixgo.cli._options import (
    Broker,
    File,
    Json,
    LogLevel,
    Namespace,
    Store,
    broker_of,
    document_of,
    is_terminal,
    run_async,
)
from aixgo.cli._sending import Sender
from aixgo.cli._texts import note
from aixgo.cli._views import choose
from aixgo.client import DEFAULT_TIMEOUT, Client, connect
from aixgo.config.deployment import IN_PROCESS
from aixgo.documents import Document
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.process import DRAIN_SECONDS, signals
from aixgo.telemetry import logs, otel

Given = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="TEXT|@PATH|-",
        help="A message; `@file` is one message, `@folder` a message per file, `-` a message per "
        "line of stdin. May be given several times.",
        show_default=False,
    ),
]
Entry = Annotated[
    str,
    typer.Option(
        "--agent",
        "-a",
        help="Agent that gets the messages; the orchestration, or the only agent, without it.",
        show_default=False,
    ),
]


def command(
    file: File,
    input: Given = None,
    broker: Broker = "",
    agent: Entry = "",
    namespace: Namespace = "",
    store: Store = None,
    json: Json = False,
    log_level: LogLevel = "",
) -> None:
    """Run a document: send it messages, or without `--input` let its events flow until Ctrl-C.

    With `memory` and `embedded` all agents run in this process. With an address they are served
    elsewhere (`aixgo service`, `aixgo up`), and this is a client of them.
    """
    document = document_of(file, namespace)
    address = broker_of(broker, document)
    if store is not None and address != "embedded":
        raise ConfigError(f"--store belongs to --broker embedded, not to {address!r}")
    if input is None:
        logs.configure(log_level or "info", "json" if json else "auto")
        run_async(_events(document, address, store))
        return
    logs.configure(log_level or "error", "auto")
    if not run_async(_messages(document, address, store, Inputs(input), agent, json=json)):
        raise typer.Exit(1)


async def _messages(
    document: Document, address: str, store: Path | None, inputs: Inputs, agent: str, *, json: bool
) -> bool:
    """Send the messages; True when each got an answer."""
    entry = document.entry(agent)
    view = choose(json=json, terminal=is_terminal())
    with otel.configured(document.name):
        async with _client(document, address, store) as client:
            sender = Sender(
                client,
                entry,
                view,
                timeout=timeout_of(document, entry),
                model=document.models.default,
            )
            return await sender.send_all(inputs)


@asynccontextmanager
async def _client(
    document: Document, address: str, store: Path | None
) -> AsyncGenerator[Client, None]:
    if address in IN_PROCESS:
        app = App.from_document(document)
        async with app.running(address, grace=GRACE_SECONDS, **_kept_in(store)) as system:
            yield system
        return
    async with connect(
        address,
        namespace=document.namespace,
        source="aixgo-run",
        access=document.deployment.access,
    ) as client:
        absent = sorted(set(document.names) - set(await client.agents()))
        if absent:
            note(
                f"no instance of {', '.join(absent)} is there now; messages wait for them "
                "(start one with `aixgo service`)"
            )
        yield client


async def _events(document: Document, address: str, store: Path | None) -> None:
    """Let the events flow until the first signal, then drain."""
    if address not in IN_PROCESS:
        raise ConfigError(
            f"the agents of {document.source} are served elsewhere (--broker), so there is nothing "
            "to do without an --input; serve them with `aixgo up` or `aixgo service`"
        )
    app = App.from_document(document)
    if all(agent.role_class.style != "reactive" for agent in app.agents.values()):
        raise ConfigError(
            f"no agent of {document.source} produces events, so nothing would happen; give a "
            "message with --input"
        )
    with otel.configured(document.name), signals() as told:
        async with AsyncExitStack() as stack:
            system = await stack.enter_async_context(app.running(address, **_kept_in(store)))
            await told.stop.wait()
            await told.drain(system.stop, DRAIN_SECONDS)


def _kept_in(store: Path | None) -> dict[str, Any]:
    return {} if store is None else {"store": store}


def timeout_of(document: Document, name: str) -> float:
    """Return the seconds that a call of an agent may take."""
    for agent in document.agents:
        if agent.name == name:
            return agent.spec.timeout or agent.spec.limits.timeout
    return DEFAULT_TIMEOUT


GRACE_SECONDS = 2.0
"""For work that nobody waits for any more: every message has its answer by then."""
