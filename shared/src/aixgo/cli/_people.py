"""What the verbs for people who look after runs share: options, the connection, values in JSON."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from aixgo.cli._options import namespace_of, server_of
from aixgo.client import Client, connect
from aixgo.errors import ConfigError
from aixgo.telemetry import logs

Space = Annotated[
    str, typer.Option("--namespace", "-n", envvar="AIXGO_NAMESPACE", help="Of the system.")
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="JSON",
        help="A JSON value; `@file` reads it from a file.",
        show_default=False,
    ),
]


def group(name: str, about: str) -> typer.Typer:
    """Return a verb that has verbs of its own."""
    made = typer.Typer(
        name=name,
        help=about,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    made.callback()(lambda: None)  # so that even a single verb is named
    return made


@asynccontextmanager
async def opened(broker: str, namespace: str) -> AsyncGenerator[Client, None]:
    """Open a client of the system that the options name.

    Raises:
        ConfigError: there is no such address or namespace.
    """
    address, space = server_of(broker), namespace_of(namespace)
    logs.configure("error")
    async with connect(address, namespace=space, source="aixgo-cli") as client:
        yield client


def json_text(given: str, option: str = "--data") -> bytes:
    """Return the JSON text that an option gives, or that the file behind its `@` has.

    Raises:
        ConfigError: the file cannot be read, or it is no JSON.
    """
    text = _bytes_of(given, option)
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{option} is no JSON: {error}; text needs its quotes, such as '\"hello\"'"
        ) from None
    return text


def text_of(given: str, option: str) -> str:
    """Return the text that an option gives, or that the file behind its `@` has.

    Raises:
        ConfigError: the file cannot be read, or is no text.
    """
    try:
        return _bytes_of(given, option).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{option} {given}: is no UTF-8 text: {error}; save it as UTF-8"
        ) from None


def _bytes_of(given: str, option: str) -> bytes:
    if not given.startswith("@"):
        return given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{option} {given}: cannot be read: {error.strerror or error}; check the path"
        ) from None


def json_value(given: str, option: str = "--data") -> Any:
    """Return the value of `json_text`."""
    return msgspec.json.decode(json_text(given, option))


def utc(moment: float) -> str:
    """Return Unix seconds for people: date and time in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows as lines with equal columns; the last one is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
