"""An MCP server that is started here: its process, its lines, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aixgo.errors import cut

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams
    from mcp_types import JSONRPCMessage

log = logging.getLogger("aixgo.tools.mcp")

END_SECONDS = 2.0
"""For a server to end by itself when its stdin is closed, and again after SIGTERM; then it is
killed. The protocol asks for this order."""

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Longest message of a server that is read; of a longer one only its id is looked for."""

MOST_STDERR_LINES = 1_000
"""In the log for one start of a server; it goes on without what it writes after them."""

_STDERR_CHARS = 500
_SHOWN_CHARS = 120
_PIECE = 64 * 1024
_NEEDED = ("PATH", "HOME", "LANG")

_WATCH = 'read -r _; kill -s TERM -- "-$1"; sleep 2; kill -s KILL -- "-$1"'
"""Ends the server, with all that it started, when the pipe from its parent closes: however the
parent dies."""

_ID = re.compile(rb'^\{"jsonrpc":\s?"2\.0",\s?"id":\s?(\d+)\b|"id":\s?(\d+)\}$')
"""Id of a message at one of the two places where servers write it."""


def environment(named: dict[str, str]) -> dict[str, str]:
    """Return the variables of a server's process: what a program needs, and what is named."""
    needed = _NEEDED if os.name == "posix" else (*_NEEDED, "SYSTEMROOT", "TEMP", "PATHEXT")
    return {**{name: os.environ[name] for name in needed if name in os.environ}, **named}


@asynccontextmanager
async def running(
    server: str,
    command: Sequence[str],
    *,
    env: dict[str, str],
    cwd: str | None,
    ended: Callable[[], object],
) -> AsyncGenerator[TransportStreams, None]:
    """Start a server and end it with the block, with all that it started.

    The process has a group of its own, so that Ctrl-C is for this process, which closes it in
    order. It ends with this process too, when this one is killed.

    Args:
        server: its name, for the log.
        command: program and arguments.
        env: all of its variables.
        cwd: its directory; that of this process without it.
        ended: called when the server has closed its stdout or reads no more.

    Raises:
        OSError: it cannot be started.
    """
    import anyio

    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )
    watch: Process | None = None
    try:
        if os.name == "posix":
            watch = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _WATCH, "watch", str(process.pid)),
                stdin=PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        from_server, received = anyio.create_memory_object_stream[Any](0)
        to_send, to_server = anyio.create_memory_object_stream[Any](0)
        async with asyncio.TaskGroup() as group, from_server, received, to_send, to_server:
            tasks = [
                group.create_task(_read(server, process, from_server, ended), name="stdout"),
                group.create_task(_write(process, to_server, from_server), name="stdin"),
                group.create_task(_log_stderr(server, process), name="stderr"),
            ]
            try:
                yield received, to_send
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        await _end(server, process)
        if watch is not None:
            with suppress(ProcessLookupError):
                watch.kill()
            await watch.wait()


async def _read(server: str, process: Process, messages: Any, ended: Callable[[], object]) -> None:
    import anyio
    from mcp.shared.message import SessionMessage

    assert process.stdout is not None
    told = False
    async with messages:
        async for line, length in lines(process.stdout, MAX_LINE_BYTES):
            message = left_out(server, line, length) if length > MAX_LINE_BYTES else parsed(line)
            if message is None:
                if line.strip() and not told:
                    told = True
                    shown = cut(line.decode(errors="replace").strip(), _SHOWN_CHARS)
                    log.warning(
                        "mcp.not_a_message",
                        extra={
                            "server": server,
                            "text": shown,
                            "hint": "a server writes nothing but messages to its stdout; such "
                            "lines are skipped, and named once",
                        },
                    )
                continue
            try:
                await messages.send(SessionMessage(message))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
        ended()


async def _write(process: Process, messages: Any, from_server: Any) -> None:
    assert process.stdin is not None
    async with messages:
        try:
            async for message in messages:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode(errors="replace") + b"\n")
                await process.stdin.drain()
        except (OSError, RuntimeError):
            await from_server.aclose()  # a request must not wait for what reads no more


async def _log_stderr(server: str, process: Process) -> None:
    assert process.stderr is not None
    count = 0
    async for line, _ in lines(process.stderr, _STDERR_CHARS):
        count += 1
        text = cut(line.decode(errors="replace").strip(), _STDERR_CHARS)
        if text and count <= MOST_STDERR_LINES:
            log.debug("mcp.stderr", extra={"server": server, "text": text})


async def lines(stream: asyncio.StreamReader, most: int) -> AsyncIterator[tuple[bytes, int]]:
    """Yield each line and its length in bytes; of a line over `most` bytes its two ends."""
    buffer, cut_away = bytearray(), 0
    while piece := await stream.read(_PIECE):
        start = 0
        while (at := piece.find(b"\n", start)) >= 0:
            buffer += piece[start:at]
            yield bytes(buffer), len(buffer) + cut_away
            buffer, cut_away, start = bytearray(), 0, at + 1
        buffer += piece[start:]
        if len(buffer) > most:
            away = len(buffer) - 2 * _SHOWN_CHARS
            if away > 0:
                del buffer[_SHOWN_CHARS:-_SHOWN_CHARS]
                cut_away += away
    if buffer:
        yield bytes(buffer), len(buffer) + cut_away


def parsed(line: bytes) -> JSONRPCMessage | None:
    """Return the message in a line; None when it is not one."""
    from mcp_types import jsonrpc_message_adapter

    try:
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return None


def left_out(server: str, line: bytes, length: int) -> JSONRPCMessage | None:
    """Return an answer in the place of one that is too long; None when it is not an answer."""
    from mcp_types import JSONRPCResponse

    log.warning(
        "mcp.too_long",
        extra={"server": server, "bytes": length, "limit": MAX_LINE_BYTES},
    )
    found = _ID.search(line)
    if found is None:
        return None
    text = (
        f"[left out: the answer is {length:,} bytes, over the limit of {MAX_LINE_BYTES:,}; ask for "
        "less of it]"
    )
    return JSONRPCResponse(
        jsonrpc="2.0",
        id=int(found[1] or found[2]),
        result={"resultType": "complete", "content": [{"type": "text", "text": text}]},
    )


async def _end(server: str, process: Process) -> None:
    """End the process in the protocol's order, then whatever it left behind."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    rest = asyncio.create_task(_discard(process), name=f"MCP server {server}: rest")
    try:
        for number in (None, signal.SIGTERM):
            if number is not None:
                _signal(process, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
                break
    finally:
        _signal(process, signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        rest.cancel()
    await process.wait()


async def _discard(process: Process) -> None:
    """Read what a server still writes, so that a full pipe does not keep it from its end."""
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]

    async def read(stream: asyncio.StreamReader) -> None:
        while await stream.read(_PIECE):
            pass

    await asyncio.gather(*(read(stream) for stream in streams))


def _signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to the process and all in its group."""
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.send_signal(number)
        else:
            os.killpg(process.pid, number)
