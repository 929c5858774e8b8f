"""`/health` and `/ready` over HTTP on plain asyncio, so that a service needs no web framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from aixgo.errors import ConfigError

__all__ = ["REQUEST_BYTES", "REQUEST_SECONDS", "Report", "health_server"]

log = logging.getLogger("aixgo.hosting.http")

REQUEST_SECONDS = 5.0
"""A client that takes longer to send its request line is dropped."""

REQUEST_BYTES = 8_192
"""More request head than that is refused."""

Report = Callable[[], tuple[bool, dict[str, Any]]]
"""Whether it is well, and the body that says so."""


@asynccontextmanager
async def health_server(
    host: str, port: int, *, health: Report, ready: Report
) -> AsyncGenerator[int, None]:
    """Serve `/health` (the process is alive) and `/ready` (it takes work); yields the port.

    200 when well, 503 when not, 404 for anything else. Port 0 takes a free one.

    Raises:
        ConfigError: the address cannot be bound.
    """
    reports = {"/health": health, "/ready": ready}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, reports))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(answer, host, port, limit=REQUEST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} for /health and /ready: {error.strerror or error}; "
            "choose another port with --health-port, or 0 for a free one"
        ) from error
    async with server:
        bound = server.sockets[0].getsockname()[1]
        log.info("health.listening", extra={"host": host, "port": bound})
        yield bound


def _response(head: bytes, reports: dict[str, Report]) -> bytes:
    words = head.split(b"\r\n", 1)[0].split(b" ")
    path = words[1].split(b"?")[0].decode("latin-1") if len(words) == 3 else ""
    report = reports.get(path)
    if report is None or words[0] not in (b"GET", b"HEAD"):
        status, body = "404 Not Found", {"error": "only GET /health and GET /ready are here"}
    else:
        well, body = report()
        status = "200 OK" if well else "503 Service Unavailable"
    text = msgspec.json.encode(body)
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + (b"" if words[0] == b"HEAD" else text)
