"""What the verbs for people who look after runs share: the connection, ids, times, columns."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import typer

from aixgo.calls.foreign import Foreign
from aixgo.cli._options import namespace_of, server_of
from aixgo.cli._terminal import note, one_line
from aixgo.client import Client, connect
from aixgo.telemetry import logs


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
async def opened(
    broker: str, namespace: str, *, sessions: str = ""
) -> AsyncGenerator[Client, None]:
    """Open a client of the system that the options name.

    Args:
        sessions: address of their store, where that is not the broker.

    Raises:
        ConfigError: there is no such address or namespace.
    """
    address, space = server_of(broker), namespace_of(namespace)
    logs.configure("error")
    async with connect(address, namespace=space, source="aixgo-cli", sessions=sessions) as client:
        yield client
        tell_foreign(client.space.foreign)


def tell_foreign(foreign: Foreign) -> None:
    """Say which records were left out, because no part of Aixgo wrote them."""
    if foreign:
        first = ", ".join(one_line(name, 120) for _, name in zip(range(3), foreign, strict=False))
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        note(
            f"{len(foreign)} records could not be read and were left out: {first}{more} "
            "(subject and sequence)"
        )


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
