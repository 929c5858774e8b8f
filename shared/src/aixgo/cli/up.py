"""`aixgo up`: one process for each agent, on a NATS server, supervised."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import typer

from aixgo.broker.open import open_broker
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
from aixgo.cli._supervisor import Supervisor
from aixgo.cli._texts import note, write_json
from aixgo.cli._views import choose
from aixgo.cli.run import Entry, Given, timeout_of
from aixgo.client import connect
from aixgo.config.deployment import IN_PROCESS
from aixgo.documents import Document
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.process import signals
from aixgo.telemetry import logs


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
    """Run every agent of a document as a process of its own, until Ctrl-C.

    The server is an embedded one unless `--broker` (or the document) gives an address. Processes
    that end are started again. With `--input` the messages are sent when all agents serve, and
    everything stops after the last answer.
    """
    document = document_of(file, namespace)
    address = broker_of(broker, document)
    if address in IN_PROCESS:
        address = "embedded"
    elif store is not None:
        raise ConfigError(f"--store belongs to the embedded server, not to {address!r}")
    level = log_level or ("info" if input is None else "error")
    logs.configure(level)
    inputs = None if input is None else Inputs(input)
    if not run_async(_up(document, file, address, store, inputs, agent, Screen(level, json=json))):
        raise typer.Exit(1)


async def _up(
    document: Document,
    file: Path,
    address: str,
    store: Path | None,
    inputs: Inputs | None,
    agent: str,
    screen: Screen,
) -> bool:
    """Run until a signal, or until every input has its answer; False when one has none."""
    entry = document.entry(agent) if inputs is not None else ""
    app = App.from_document(document)
    screen.names = app.served()
    with signals() as told:
        async with _server(address, store) as url:
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
                screen.show,
            )
            supervisor.start()
            try:
                work = _work(
                    *(supervisor, document, url, inputs, entry, screen),
                    embedded=address == "embedded",
                )
                return await _first(work, supervisor.failed(), told.stop.wait())
            finally:
                await supervisor.stop(told.hurry)


async def _work(
    supervisor: Supervisor,
    document: Document,
    url: str,
    inputs: Inputs | None,
    entry: str,
    screen: Screen,
    *,
    embedded: bool,
) -> bool:
    await supervisor.until_ready()
    if inputs is None:
        # a given address may hold a password; the embedded server's token is for this user to use
        where = f"; others reach them with --broker {url}" if embedded else ""
        note(f"{len(supervisor.children)} agents serve{where}. Ctrl-C stops all")
        await asyncio.Event().wait()
    assert inputs is not None
    async with connect(
        url,
        namespace=document.namespace,
        source="aixgo-up",
        access=document.deployment.access,
    ) as client:
        view = choose(json=screen.json, terminal=is_terminal())
        sender = Sender(
            client,
            entry,
            view,
            timeout=timeout_of(document, entry),
            model=document.models.default,
        )
        return await sender.send_all(inputs)


async def _first(work: Any, *others: Any) -> bool:
    """Run all until one ends; returns what the work gave, or True when it was stopped."""
    tasks = [asyncio.create_task(one) for one in (work, *others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return bool(tasks[0].result()) if tasks[0] in done else True
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _server(address: str, store: Path | None) -> AsyncGenerator[str, None]:
    if address != "embedded":
        yield address
        return
    from aixgo.broker.embedded import EmbeddedServer

    async with EmbeddedServer(store) as server:
        yield server.url


class Screen:
    """The log lines of all agents on one screen: a name and a colour for each."""

    _COLOURS = ("36", "33", "35", "32", "34", "31")

    def __init__(self, level: str, *, json: bool) -> None:
        self.json = json
        self._least = logs.LEVELS.index(level.lower())
        self._colour = sys.stderr.isatty()
        self._human = logs.HumanFormatter(self._colour)
        self.names: list[str] = []

    def show(self, name: str, record: dict[str, Any]) -> None:
        """Show a line, if its level is high enough."""
        level = str(record.get("level", "info"))
        rank = logs.LEVELS.index(level) if level in logs.LEVELS else len(logs.LEVELS)
        if rank < self._least:
            return
        if self.json:
            if self._least <= logs.LEVELS.index("info"):
                write_json({"agent": name, **record})
            return
        given = {key: value for key, value in record.items() if key not in _COLUMNS}
        if given.get("agent") == name:
            del given["agent"]
        stack = given.pop("error", None)
        moment = str(record.get("timestamp", ""))
        time = (
            datetime.fromisoformat(moment).astimezone() if moment else datetime.now().astimezone()
        )
        line = self._human.line(
            time.strftime("%H:%M:%S"), level, str(record.get("message", "")), given
        )
        if isinstance(stack, dict):
            line += f" {stack.get('type')}: {stack.get('message')}"
        note(f"{self._prefix(name)} {line}")

    def _prefix(self, name: str) -> str:
        text = f"{name:<{max(map(len, self.names))}} │"
        if not self._colour:
            return text
        colour = self._COLOURS[self.names.index(name) % len(self._COLOURS)]
        return f"\x1b[{colour}m{text}\x1b[0m"


_COLUMNS = frozenset({"timestamp", "level", "logger", "message"})
