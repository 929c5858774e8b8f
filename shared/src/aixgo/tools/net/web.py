"""HTTP for tools: guarded connections, bounded bodies, and whether a request was sent.

The only module of tools that knows aiohttp; its exceptions end here.
"""

from __future__ import annotations

import asyncio
import io
import math
import os
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from aixgo.errors import (
    MissingExtra,
    OutcomeUnknown,
    ToolError,
    ToolNotDone,
    ToolUnavailable,
)
from aixgo.tools.net.exchange import Call, Reply, origin_of, redirected
from aixgo.tools.net.guard import Guard
from aixgo.tools.net.resolver import Lookup, Resolver, only_connected, system_lookup
from aixgo.web.secrets import NOTHING, Secrets

try:
    import aiohttp
    from yarl import URL
except ImportError as error:
    raise MissingExtra("a tool over the network", "tools") from error

MAX_ERROR_BYTES = 64 * 1024
"""Of an error's body: more is not read, its sentence is at the beginning."""

MAX_REDIRECTS = 5
"""Of one request, all at the same origin."""

MAX_CONNECTIONS = 100
"""At once of one tool in one process; further calls wait for one."""

_CONNECT_SHARE = 0.9
"""Of the time that is left: a connection that comes later leaves none for the answer, and when it
does not come, the tool still says that nothing was sent."""

_PIECE_BYTES = 256 * 1024

_CLOSE_SECONDS = 1.0
"""For the goodbye of a WebSocket."""


@dataclass
class _Progress:
    """Whether any of a request may have left."""

    sent: bool = False


@dataclass
class _Held:
    """Connections that are kept in one event loop."""

    users: int = 0
    session: aiohttp.ClientSession | None = None


class Web:
    """Connections of one tool, or of all tools of one source; opened on first use.

    While it is open (`open` is counted) connections are kept for the next call; otherwise, and for
    what acts `once`, each call has a connection of its own. A kept connection may be closed by the
    server at the moment of the next request, which would leave that in doubt.

    Proxies of the environment are not used: a proxy would resolve the names itself.

    Args:
        what: it is for, in errors, such as "tool 'weather'".
        once: requests must never be sent twice.
        max_body: of an answer, in bytes, decompressed.
        connect_timeout: seconds to get a connection.
        lookup: instead of the system's resolver.
        tls: instead of the system's certificates.
    """

    def __init__(
        self,
        what: str,
        guard: Guard,
        *,
        once: bool,
        max_body: int,
        connect_timeout: float,
        secrets: Secrets = NOTHING,
        lookup: Lookup | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._what, self._guard, self._once = what, guard, once
        self._max_body, self._connect_timeout = max_body, connect_timeout
        self._secrets, self._lookup, self._tls = secrets, lookup or system_lookup, tls
        self._held: dict[asyncio.AbstractEventLoop, _Held] = {}

    async def open(self) -> None:
        """Keep connections from now on; counted."""
        self._held.setdefault(asyncio.get_running_loop(), _Held()).users += 1

    async def close(self) -> None:
        """Close them, if this was the last user."""
        loop = asyncio.get_running_loop()
        held = self._held.get(loop)
        if held is None:
            return
        held.users -= 1
        if held.users <= 0:
            del self._held[loop]
            if held.session is not None:
                await held.session.close()

    async def send(self, call: Call, *, remaining: float, follow: bool) -> Reply:
        """Return the answer, whatever its status.

        Args:
            remaining: seconds that are left for everything.
            follow: redirects, at the same origin.

        Raises:
            AddressBlocked, ToolNotDone: nothing was sent.
            ToolUnavailable: the same, and it may help to try again.
            OutcomeUnknown: the connection was lost after something was sent.
            ToolError: the answer is too long, or redirected too often.
        """
        progress = _Progress()
        async with self.session() as session:
            for _ in range(MAX_REDIRECTS + 1):
                with self.translated(call.url, progress):
                    reply = await self._exchange(session, call, remaining, progress)
                target = redirected(call, reply) if follow else None
                if target is None:
                    return reply
                if target.method == call.method:
                    progress.sent = False  # this server did nothing but say where to ask
                call = target
        raise ToolError(
            f"{self._what}: {origin_of(call.url)} redirected {MAX_REDIRECTS + 1} times; the limit "
            f"is {MAX_REDIRECTS}, so write the URL where it leads to"
        )

    async def _exchange(
        self, session: aiohttp.ClientSession, call: Call, remaining: float, progress: _Progress
    ) -> Reply:
        async with session.request(
            call.method,
            URL(call.url, encoded=True),
            data=_sendable(call.body),
            headers=call.headers,
            allow_redirects=False,
            timeout=self.timeout(remaining),
            ssl=True if self._tls is None else self._tls,
            trace_request_ctx=progress,
        ) as response:
            return Reply(
                status=response.status,
                headers=dict(response.headers),
                body=await self._read(response),
                media_type=response.content_type if "Content-Type" in response.headers else "",
                charset=response.charset or "utf-8",
            )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        good = 200 <= response.status < 300
        limit = self._max_body if good else MAX_ERROR_BYTES
        pieces: list[bytes] = []
        size = 0
        while piece := await response.content.readany():
            size += len(piece)
            pieces.append(piece)
            if size > limit:
                if good:
                    raise ToolError(
                        f"{self._what}: {origin_of(str(response.url))} answered "
                        f"{response.status} with more than {limit:,} bytes, which is the limit; "
                        "ask for less, or raise `max_body`"
                    )
                break
        return b"".join(pieces)[:limit]

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[aiohttp.ClientSession, None]:
        """Yield the connections; those that are not kept are closed at the end of the block."""
        held = self._held.get(asyncio.get_running_loop())
        if held is not None:
            if held.session is None:
                held.session = self._new(keep=not self._once)
            yield held.session
            return
        async with self._new(keep=False) as session:
            yield session

    def _new(self, *, keep: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                force_close=not keep,
                resolver=Resolver(self._guard, self._lookup),
                use_dns_cache=False,
                socket_factory=only_connected,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[trace],
            middlewares=[self._guarded],
            timeout=self.timeout(math.inf),
            auto_decompress=True,
        )
        # aiohttp sends a PUT or a DELETE a second time when the server hangs up
        session._retry_connection = not self._once
        return session

    async def _guarded(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Refuse addresses that are not allowed; each request passes here, also of a redirect."""
        self._guard.check_host(request.url.raw_host or "")
        response = await handler(request)
        # aiohttp follows redirects of WebSockets, and would take secret headers along
        if "Upgrade" in request.headers and 300 <= response.status < 400:
            response.close()
            raise ToolNotDone(
                f"{self._what}: {origin_of(str(request.url))} answered {response.status} instead "
                "of opening a WebSocket; write the URL where it leads to",
                retryable=False,
            )
        return response

    async def websocket(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        *,
        heartbeat: float,
        remaining: float,
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket.

        Args:
            heartbeat: seconds between pings; a far side that does not answer is gone.
            remaining: seconds that are left for everything.

        Raises:
            ToolNotDone, ToolUnavailable: as of `send`.
        """
        with self.translated(url, _Progress()):
            try:
                async with asyncio.timeout(self._connect_seconds(remaining)):
                    return await session.ws_connect(
                        url,
                        headers=headers,
                        heartbeat=heartbeat,
                        max_msg_size=self._max_body,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                        ssl=True if self._tls is None else self._tls,
                    )
            except aiohttp.WSServerHandshakeError as error:
                status = error.status
                raise ToolNotDone(
                    f"{self._what}: {origin_of(url)} answered {status} instead of opening a "
                    "WebSocket, so nothing was sent",
                    retryable=status == 429 or status >= 500,
                ) from None

    def _connect_seconds(self, remaining: float) -> float:
        return max(0.001, min(self._connect_timeout, remaining * _CONNECT_SHARE))

    def timeout(self, remaining: float) -> aiohttp.ClientTimeout:
        """Return the limits of one request; its own end is the caller's business."""
        seconds = self._connect_seconds(remaining)
        return aiohttp.ClientTimeout(total=None, connect=seconds, sock_connect=seconds)

    @contextmanager
    def translated(self, url: str, progress: _Progress) -> Generator[None, None, None]:
        """Turn the exceptions of sockets into ours."""
        try:
            yield
        except (aiohttp.ClientError, OSError, EOFError, ValueError) as error:
            failed = self._failure(error, origin_of(url), progress.sent)
            shown = repr(error)
            raise failed from (error if self._secrets.without(shown) == shown else None)

    def _failure(self, error: Exception, origin: str, sent: bool) -> ToolError:
        reason = self._secrets.clean(_reason(error))
        if sent:
            return OutcomeUnknown(
                f"{self._what}: lost the connection to {origin} after the request was sent "
                f"({reason}); whether it was done is not known"
            )
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return ToolNotDone(
                f"{self._what}: {origin} has no certificate that can be trusted for its name "
                f"({reason}); nothing was sent",
                retryable=False,
            )
        if isinstance(error, aiohttp.ClientSSLError):
            return ToolNotDone(
                f"{self._what}: no secure connection to {origin} ({reason}), so nothing was sent; "
                "does it speak TLS?",
                retryable=False,
            )
        if isinstance(error, aiohttp.InvalidURL | ValueError):
            return ToolNotDone(f"{self._what}: {origin} cannot be connected to", retryable=False)
        return ToolUnavailable(
            f"{self._what}: no connection to {origin} ({reason}), so nothing was sent; is it up, "
            "and is the address right?"
        )


def _sendable(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a body as aiohttp wants it: a long one in pieces, so that it blocks nothing else."""
    return io.BytesIO(body) if body is not None and len(body) > _PIECE_BYTES else body


def _reason(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"no address of {error.host!r} was found"
        case aiohttp.ClientConnectorCertificateError():
            return str(error.certificate_error)[:200]
        case aiohttp.ClientSSLError():
            return str(error.os_error)[:200]
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return os.strerror(number) if number else type(error.os_error).__name__
        case TimeoutError():
            return "no connection in time"
        case _:
            return f"{type(error).__name__}: {error}"[:200]


async def _note_sent(_: Any, context: Any, __: Any) -> None:
    if isinstance(context.trace_request_ctx, _Progress):
        context.trace_request_ctx.sent = True
