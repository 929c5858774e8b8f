"""Options that several verbs share, so that they mean the same everywhere."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aixgo.config.deployment import IN_PROCESS, Deployment, checked_broker
from aixgo.config.durations import some_time
from aixgo.config.reference import is_reference
from aixgo.documents import Document, load_document
from aixgo.errors import BadSubject, ConfigError
from aixgo.subjects import Names

if TYPE_CHECKING:
    from aixgo.hosting.app import App

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="The document (YAML or JSON).", show_default=False)
]
Deployable = Annotated[
    Path,
    typer.Argument(
        metavar="FILE|MODULE:APP",
        help="The document (YAML or JSON), or the `App` of a Python module.",
        show_default=False,
    ),
]
Broker = Annotated[
    str,
    typer.Option(
        "--broker",
        "-b",
        metavar="ADDRESS",
        envvar="AIXGO_BROKER",
        help="`memory`, `embedded` (a nats-server of its own) or `nats://host:4222`; "
        "the document's without it.",
        show_default=False,
    ),
]
Server = Annotated[
    str,
    typer.Option(
        "--broker",
        "-b",
        metavar="ADDRESS",
        envvar="AIXGO_BROKER",
        help="Address of the NATS server, such as `nats://localhost:4222`.",
        show_default=False,
    ),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        envvar="AIXGO_NAMESPACE",
        help="Namespace of the system on the broker; the document's without it.",
        show_default=False,
    ),
]
Space = Annotated[
    str,
    typer.Option(
        "--namespace", "-n", envvar="AIXGO_NAMESPACE", help="Namespace of the system on the broker."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs, one value per line.")]
LogLevel = Annotated[
    str,
    typer.Option(
        "--log-level",
        envvar="AIXGO_LOG_LEVEL",
        help="Lowest level of log lines: debug, info, warning or error.",
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Folder in which the embedded server keeps its streams; temporary without it.",
        show_default=False,
    ),
]

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
Session = Annotated[
    str,
    typer.Option(
        "--session",
        metavar="NAME",
        help="The conversation that the messages belong to; its agents remember what was said.",
        show_default=False,
    ),
]
User = Annotated[
    str,
    typer.Option("--user", metavar="NAME", help="For whom it is.", show_default=False),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="JSON",
        help="A JSON value instead of text; `@file` reads it from a file.",
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
Timeout = Annotated[
    str,
    typer.Option(
        "--timeout",
        metavar="TIME",
        help="Time for each answer, such as `30s` or `5m`; the agent's own without it.",
        show_default=False,
    ),
]


def document_of(file: Path, namespace: str = "") -> Document:
    """Return the document in a file, in another namespace if one is given.

    Raises:
        ConfigError: the document is wrong.
    """
    document = load_document(file)
    return replace(document, namespace=namespace_of(namespace)) if namespace else document


def system_of(text: str | Path, namespace: str = "") -> tuple[App, Deployment]:
    """Return the system of a document, or of Python code when the text is `module:app`.

    With it comes the document's deployment; that of code is all defaults.

    Raises:
        ConfigError: the document is wrong, or the code has no such system.
    """
    from aixgo.hosting.app import App  # heavy with the broker: only verbs that use it pay

    if not is_reference(str(text)) or Path(text).exists():
        document = document_of(Path(text), namespace)
        return App.from_document(document), document.deployment
    from aixgo.hosting.named import named_app

    app = named_app(str(text))
    if namespace:
        app.names = Names(namespace_of(namespace))
    return app, Deployment()


def namespace_of(given: str) -> str:
    """Return the namespace.

    Raises:
        ConfigError: it cannot be a part of subjects.
    """
    try:
        return Names(given).namespace
    except BadSubject as error:
        raise ConfigError(f"--namespace: {error}") from None


def broker_of(given: str, document: Document) -> str:
    """Return the broker's address: the given one, else the document's.

    Raises:
        ConfigError: it is neither a broker that is known nor an address.
    """
    try:
        return checked_broker(given or document.deployment.broker)
    except ValueError as error:
        raise ConfigError(f"--broker: {error}") from None


def server_of(given: str, document: Document | None = None) -> str:
    """Return the address of a server that other processes reach.

    Raises:
        ConfigError: there is none, or it is a broker inside of one process.
    """
    address = given or (document.deployment.broker if document is not None else "")
    if not address or address in IN_PROCESS:
        instead = f", not {address!r}" if address else ""
        raise ConfigError(
            f"this needs the address of a server that other processes reach{instead}; give "
            "--broker nats://host:4222, or set AIXGO_BROKER"
        )
    try:
        return checked_broker(address)
    except ValueError as error:
        raise ConfigError(f"--broker: {error}") from None


def store_of(given: Path | None, address: str) -> dict[str, Path]:
    """Return the embedded server's option for a folder: none when none is given.

    Raises:
        ConfigError: the broker is another, or the folder cannot be written to.
    """
    if given is None:
        return {}
    if address != "embedded":
        raise ConfigError(f"--store belongs to the embedded server, not to {address!r}")
    try:
        given.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=given):
            pass
    except OSError as error:
        reason = "it is a file" if given.is_file() else error.strerror or str(error)
        raise ConfigError(
            f"--store {given}: {reason}; give a folder in which this user may write"
        ) from None
    return {"store": given}


def seconds_of(given: str) -> float:
    """Return the seconds that `--timeout` says.

    Raises:
        ConfigError: it is not a duration, or not between 1 ms and ten years.
    """
    try:
        return some_time(given)
    except ValueError as error:
        raise ConfigError(f"--timeout: {error}") from None


def without_secrets(address: str) -> str:
    """Return an address that may be shown: `…` when it holds a password or a token."""
    return "…" if "@" in address else address
