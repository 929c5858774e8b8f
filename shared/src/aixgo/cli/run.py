"""`aixgo run`: a system in this process, or a client of one that is served elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import typer

from aixgo.cli._asking import Desk
from aixgo.cli._inputs import Inputs
from aixgo.cli._options import (
    Broker,
    Data,
    Entry,
    File,
    Given,
    Json,
    LogLevel,
    Namespace,
    Session,
    Store,
    Timeout,
    User,
    broker_of,
    document_of,
    store_of,
    without_secrets,
)
from aixgo.cli._sending import Sender
from aixgo.cli._system import check_data, timeout_of
from aixgo.cli._terminal import is_terminal, note, results_alone
from aixgo.cli._views import choose
from aixgo.client import Client, connect
from aixgo.config.deployment import IN_PROCESS
from aixgo.documents import Document
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.process import DRAIN_SECONDS, signals
from aixgo.hosting.process import run as run_process
from aixgo.telemetry import logs, otel

GRACE_SECONDS = 2.0
"""For work that is no longer waited for: every message has its answer by then."""


def command(
    file: File,
    input: Given = None,
    data: Data = "",
    broker: Broker = "",
    agent: Entry = "",
    timeout: Timeout = "",
    session: Session = "",
    user: User = "",
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
    options = store_of(store, address)
    if input is None and not data:
        if timeout:
            raise ConfigError("--timeout is the time for an answer: give a message with --input")
        if session or user:
            raise ConfigError("--session and --user are about a message: give one with --input")
        logs.configure(log_level or "info", "json" if json else "auto")
        run_process(_events(document, address, options))
        return
    logs.configure(log_level or "error", "auto")
    inputs = Inputs(input or [], data)
    entry = document.entry(agent)
    seconds = timeout_of(document, entry, timeout)
    check_data(document, entry, inputs)
    whom = {"session": session, "user": user}
    with results_alone() if json else nullcontext():
        well = run_process(
            _messages(document, address, options, inputs, entry, seconds, whom, json=json)
        )
    if not well:
        raise typer.Exit(1)


async def _messages(
    document: Document,
    address: str,
    options: dict[str, Any],
    inputs: Inputs,
    entry: str,
    timeout: float,
    whom: Mapping[str, str],
    *,
    json: bool,
) -> bool:
    """Send the messages; True when each got an answer."""
    view = choose(json=json, terminal=is_terminal())
    desk = Desk(
        "" if address in IN_PROCESS else without_secrets(address),
        document.namespace,
        stdin_is_input=inputs.reads_stdin,
        json=json,
    )
    with otel.configured(document.name):
        async with _client(document, address, options) as client:
            model = document.models.default
            sender = Sender(client, entry, view, desk, timeout=timeout, model=model, **whom)
            return await sender.send_all(inputs)


@asynccontextmanager
async def _client(
    document: Document, address: str, options: dict[str, Any]
) -> AsyncGenerator[Client, None]:
    if address in IN_PROCESS:
        app = App.from_document(document)
        async with app.running(address, grace=GRACE_SECONDS, **options) as system:
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


async def _events(document: Document, address: str, options: dict[str, Any]) -> None:
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
        async with app.running(address, **options) as system:
            await told.stop.wait()
            await told.drain(system.stop, DRAIN_SECONDS)
