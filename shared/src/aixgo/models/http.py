"""HTTP for model adapters: one pool of connections, deadlines, bounded bodies, server-sent events.

The only module of the direct adapters that knows aiohttp; its exceptions end here.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from aixgo.errors import (
    BadModelAnswer,
    ConfigError,
    MissingExtra,
    ModelTimeout,
    ModelUnavailable,
)
from aixgo.models.wires.sse import BOM, Event, SseParser
from aixgo.web.secrets import NOTHING, Secrets

try:
    import aiohttp
    from aiohttp.http_exceptions import HttpProcessingError
except ImportError as error:
    raise MissingExtra("calling models over HTTP", "models") from error

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""Of one answer, decompressed: 2 048 embeddings of 3 072 numbers are about 60 MB of JSON."""

MAX_ERROR_BYTES = 64 * 1024
"""Of an error's body: more is not read, its sentence is at the beginning."""

CONNECT_SECONDS = 10.0
"""To open a connection: a host that drops packets must not eat the deadline of all attempts."""

MAX_CONNECTIONS = 1024
"""At once in one process; further calls wait for one, within their own deadline."""

_MAX_BLANKS = 4096
"""Before the first event: servers send blanks to keep a connection alive, but not for ever."""

DRAIN_SECONDS = 0.05
"""To see the end of a finished stream, so that its connection can be used again."""


class Target(NamedTuple):
    """Where a request goes, and how errors name it; the headers hold the key.

    Attributes:
        timeout: seconds, for the text of errors.
        deadline: loop time.
        secrets: what no error may show.
    """

    url: str
    headers: Mapping[str, str]
    provider: str
    timeout: float
    deadline: float
    secrets: Secrets = NOTHING


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Http:
    """A pool of connections, opened on first use, for any number of adapters."""

    def __init__(self, *, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._limit = max_response_bytes
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[str, str | None] = {}

    async def post(self, target: Target, body: bytes) -> Reply:
        """Return the whole answer, whatever its status.

        Raises:
            ModelTimeout: the deadline passed.
            ModelUnavailable: the connection failed.
            BadModelAnswer: the body is over the limit.
        """
        with _translated(target):
            async with asyncio.timeout_at(target.deadline):
                response = await self._send(target, body)
                try:
                    return await self._reply(target, response)
                finally:
                    response.release()

    @asynccontextmanager
    async def events(self, target: Target, body: bytes) -> AsyncGenerator[Reply | Events, None]:
        """Yield the server-sent events of an answer; or all of it, when it is not a stream.

        That is an error's body, and what begins like JSON or a page: servers answer a request for a
        stream so too. Leaving the block before the end closes the socket. Errors as in `post`,
        raised by the iteration too.
        """
        with _translated(target):
            async with asyncio.timeout_at(target.deadline):
                response = await self._send(target, body)
        events = Events(response, target, self._limit)
        try:
            if not ok(response.status) or await events.is_another_format():
                with _translated(target, begun=True):
                    async with asyncio.timeout_at(target.deadline):
                        reply = await self._reply(target, response, events.seen)
                yield reply
            else:
                yield events
        finally:
            if events.done:
                await events.drain()
            response.release()

    async def answers(self, url: str) -> bool:
        """Whether a GET of the URL answers 200 within two seconds."""
        try:
            async with asyncio.timeout(2.0), self._open().get(url, allow_redirects=False) as got:
                return got.status == 200
        except (TimeoutError, aiohttp.ClientError, OSError):
            return False

    async def close(self) -> None:
        """Close all connections; idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, target: Target, body: bytes) -> aiohttp.ClientResponse:
        return await self._open().post(
            target.url,
            data=body,
            headers=target.headers,
            allow_redirects=False,
            proxy=self._proxy(target.url),
        )

    async def _reply(
        self, target: Target, response: aiohttp.ClientResponse, begin: bytes = b""
    ) -> Reply:
        """Return the whole answer; what was read of it already is its `begin`."""
        good = ok(response.status)
        body = await _read(response, self._limit if good else MAX_ERROR_BYTES, begin)
        if body is None:
            if good:
                raise _too_large(target, self._limit)
            body = b"(a long error page)"
        return Reply(response.status, response.headers, body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
            )
        return self._session

    def _proxy(self, url: str) -> str | None:
        """Return the environment's proxy for a URL.

        aiohttp's `trust_env` would also read ~/.netrc and put what it finds over our key.
        """
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._proxies:
            if len(self._proxies) > 256:
                self._proxies.clear()
            bypassed = urllib.request.proxy_bypass(parts.hostname or "")
            found = None if bypassed else urllib.request.getproxies().get(parts.scheme)
            self._proxies[origin] = proxy_url(found, f"{parts.scheme}_proxy")
        return self._proxies[origin]


def proxy_url(value: str | None, variable: str) -> str | None:
    """Return the address of a proxy; `host:port` is short for `http://host:port`.

    Raises:
        ConfigError: it is not the address of an HTTP proxy; names the variable.
    """
    value = (value or "").strip()
    if not value:
        return None
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port  # raises when it is not a number
    except ValueError:
        good = False
    if not good:
        shown = value.rpartition("@")[2]  # what stands before may be a password
        raise ConfigError(
            f"the variable {variable} is {shown!r}, which is not the address of an HTTP proxy; "
            "write http://host:port, or list the model's host in no_proxy"
        )
    return url


def ok(status: int) -> bool:
    """Whether a status says that an answer follows."""
    return 200 <= status < 300


async def _read(response: aiohttp.ClientResponse, limit: int, begin: bytes) -> bytes | None:
    """Return the body, or None when it is over the limit."""
    if (response.content_length or 0) > limit:
        return None
    pieces: list[bytes] = [begin] if begin else []
    size = len(begin)
    while piece := await response.content.readany():
        size += len(piece)
        if size > limit:
            return None
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Events:
    """Iterates over the server-sent events of an answer.

    Attributes:
        seen: what was read before the first event, by `is_another_format`.
        done: nothing more is wanted of it.
        stray: beginning of a line that is not part of the format, for error messages.
    """

    def __init__(self, response: aiohttp.ClientResponse, target: Target, limit: int) -> None:
        self._response, self._target, self._limit = response, target, limit
        self._deadline = target.deadline
        self._size = 0
        self._parser = SseParser()
        self._ready: deque[Event] = deque()
        self._over = False
        self.seen = b""
        self.done = False

    @property
    def stray(self) -> bytes:
        """Beginning of a line that is not part of the format."""
        return self._parser.stray

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if self._over:
                self.done = True
                raise StopAsyncIteration
            self._take(await self._read())
        return self._ready.popleft()

    async def is_another_format(self) -> bool:
        """Whether the answer begins like JSON or like a page, whatever its headers say."""
        while not (begin := self.seen.removeprefix(BOM).lstrip()) and not self._over:
            piece = await self._read()
            self.seen += piece
            self._over = not piece
            if len(self.seen) > _MAX_BLANKS:
                break
        if begin[:1] in (b"{", b"[", b"<"):
            return True
        self._ready.extend(self._parser.feed(self.seen))
        if self._over:
            self._ready.extend(self._parser.end())
        return False

    def hurry(self, seconds: float) -> None:
        """Wait no longer than that for each further piece; the first call counts."""
        if self._deadline == self._target.deadline:
            soon = asyncio.get_running_loop().time() + seconds
            self._deadline = min(self._deadline, soon)

    async def _read(self) -> bytes:
        with _translated(self._target, begun=True):
            async with asyncio.timeout_at(self._deadline):
                piece = await self._response.content.readany()
        self._size += len(piece)
        if self._size > self._limit:
            raise _too_large(self._target, self._limit)
        return piece

    def _take(self, piece: bytes) -> None:
        self._over = not piece
        self._ready.extend(self._parser.feed(piece) if piece else self._parser.end())

    async def drain(self) -> None:
        """Read the end of the body when it is already on its way."""
        if self._response.content.at_eof():
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._response.content.readany()
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._response.close()


@contextmanager
def _translated(target: Target, *, begun: bool = False) -> Generator[None, None, None]:
    """Turn exceptions of sockets into ours.

    Args:
        begun: the server has answered already, so it is there.
    """
    try:
        yield
    except (aiohttp.ClientError, HttpProcessingError, EOFError, OSError) as error:
        # aiohttp's own time-outs are those of opening a connection
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
            raise _too_late(target) from error
        said = f"({type(error).__name__}: {target.secrets.clean(str(error))[:200]})"
        origin = _origin(target.url)
        text = (
            f"lost the connection to {origin} in the middle of the answer {said}; try again"
            if begun
            else f"no connection to {origin} {said}; is it up, and is the base URL right?"
        )
        failed = ModelUnavailable(f"{target.provider}: {text}", provider=target.provider)
        raise failed from (error if target.secrets.without(repr(error)) == repr(error) else None)


def _too_late(target: Target) -> ModelTimeout:
    return ModelTimeout(
        f"{target.provider} did not finish within {target.timeout:.3g} s; raise the timeout, "
        "or ask for a shorter answer with max_tokens",
        provider=target.provider,
    )


def _too_large(target: Target, limit: int) -> BadModelAnswer:
    return BadModelAnswer(
        f"{target.provider}'s answer is over the limit of {limit:,} bytes; ask for less at once",
        provider=target.provider,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
