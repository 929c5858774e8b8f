"""`aixgo up`: one process for each agent, on a NATS server, supervised."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from aixgo.broker.open import open_broker
from aixgo.cli._asking import Desk
from aixgo.cli._first import first_of
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
    Store,
    Timeout,
    broker_of,
    document_of,
    store_of,
    without_secrets,
)
from aixgo.cli._screen import Screen
from aixgo.cli._sending import Sender
from aixgo.cli._supervisor import Supervisor
from aixgo.cli._system import check_data, timeout_of
from aixgo.cli._terminal import is_terminal, note
from aixgo.cli._views import choose
from aixgo.client import connect
from aixgo.config.deployment import IN_PROCESS
from aixgo.documents import Document
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.process import Signals, signals
from aixgo.hosting.process import run as run_process
from aixgo.telemetry import logs


@dataclass(frozen=True, kw_only=True)
class Messages:
    """What is sent when all agents serve."""

    inputs: Inputs
    agent: str
    timeout: float
    json: bool


def command(
    file: File,
    input: Given = None,
    data: Data = "",
    broker: Broker = "",
    agent: Entry = "",
    timeout: Timeout = "",
    namespace: Namespace = "",
    store: Store = None,
    json: Json = False,
    log_level: LogLevel = "",
) -> None:
    """Run every agent of a document as a process of its own, until Ctrl-C.

    The server is an embedded one unless `--broker` (or the document) has an address. Processes
    that end are started again. With `--input` the messages are sent when all agents serve, and
    everything stops after the last answer.
    """
    document = document_of(file, namespace)
    address = broker_of(broker, document)
    if address in IN_PROCESS:
        address = "embedded"
    options = store_of(store, address)
    sends = input is not None or bool(data)
    level = log_level or ("error" if sends else "info")
    logs.configure(level)
    messages = None
    if sends:
        entry = document.entry(agent)
        inputs = Inputs(input or [], data)
        check_data(document, entry, inputs)
        seconds = timeout_of(document, entry, timeout)
        messages = Messages(inputs=inputs, agent=entry, timeout=seconds, json=json)
    elif timeout:
        raise ConfigError("--timeout is the time for an answer: give a message with --input")
    screen = Screen(level, json=json, results=sends)
    code = run_process(_up(document, file, address, options, messages, screen))
    if code:
        raise typer.Exit(code)


async def _up(
    document: Document,
    file: Path,
    address: str,
    options: dict[str, Path],
    messages: Messages | None,
    screen: Screen,
) -> int:
    """Run until a signal, or until every message has its answer; returns the exit code."""
    app = App.from_document(document)
    screen.names = app.served()
    with signals() as taken:
        async with _server(address, options) as url:
            access = document.deployment.access
            async with open_broker(url, name="aixgo-up", access=access) as broker:
                await app.provision(broker)
            supervisor = Supervisor(
                app.served(),
                [
                    *("--file", str(file), "--health-port", "0", "--log-format", "json"),
                    *("--log-level", "info", "--with-parent"),
                ],
                {"AIXGO_BROKER": url, "AIXGO_NAMESPACE": document.namespace},
                screen,
            )
            supervisor.start()
            try:
                await first_of(supervisor.until_ready(), taken.stop.wait())
                if messages is not None:
                    answers = _answers(
                        supervisor, document, url, messages, taken, embedded=address == "embedded"
                    )
                    return await answers
                if not taken.stop.is_set():
                    _invite(supervisor, url, address)
                await first_of(taken.stop.wait(), supervisor.failed())
                return 0
            finally:
                await supervisor.stop(taken.hurry)


def _invite(supervisor: Supervisor, url: str, address: str) -> None:
    """Say that all agents serve, and how they are reached."""
    # a given address may hold a password; the embedded server's token is for this user to use
    where = f"; others reach them with --broker {url}" if address == "embedded" else ""
    note(f"{len(supervisor.children)} agents serve{where}. Ctrl-C stops all")


async def _answers(
    supervisor: Supervisor,
    document: Document,
    url: str,
    messages: Messages,
    taken: Signals,
    *,
    embedded: bool,
) -> int:
    """Send the messages; 1 when one has no answer, and the signal's own code when one came."""

    async def work() -> bool:
        async with connect(
            url,
            namespace=document.namespace,
            source="aixgo-up",
            access=document.deployment.access,
        ) as client:
            sender = Sender(
                client,
                messages.agent,
                choose(json=messages.json, terminal=is_terminal()),
                Desk(
                    url if embedded else without_secrets(url),
                    document.namespace,
                    stdin_is_input=messages.inputs.reads_stdin,
                    json=messages.json,
                ),
                timeout=messages.timeout,
                model=document.models.default,
            )
            return await sender.send_all(messages.inputs)

    well = await first_of(work(), supervisor.failed(), taken.stop.wait())
    return taken.exit_code if well is None else 1 - well


@asynccontextmanager
async def _server(address: str, options: dict[str, Path]) -> AsyncGenerator[str, None]:
    if address != "embedded":
        yield address
        return
    from aixgo.broker.embedded import EmbeddedServer

    async with EmbeddedServer(**options) as server:
        yield server.url
