"""HTTP for model adapters: one pool of connections, deadlines, bounded bodies, server-sent events.

The only module of the direct adapters that knows aiohttp; its exceptions end here.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from aixgo.errors import BadModelAnswer, MissingExtra, ModelTimeout, ModelUnavailable

try:
    import aiohttp
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

DRAIN_SECONDS = 0.05
"""To see the end of a finished stream, so that its connection can be used again."""


class Target(NamedTuple):
    """Where a request goes, and how errors name it; the headers hold the key."""

    url: str
    headers: Mapping[str, str]
    provider: str
    timeout: float
    deadline: float
    """Loop time."""


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
    async def events(
        self, target: Target, body: bytes
    ) -> AsyncGenerator[Reply | AsyncIterator[bytes], None]:
        """Yield the data of server-sent events as they come, or the whole answer of an error.

        Leaving the block before the end closes the socket. Errors as in `post`, raised by the
        iteration too.
        """
        with _translated(target):
            async with asyncio.timeout_at(target.deadline):
                response = await self._send(target, body)
        events = _Events(response, target, self._limit)
        try:
            if response.status == 200:
                yield events
            else:
                with _translated(target):
                    async with asyncio.timeout_at(target.deadline):
                        reply = await self._reply(target, response)
                yield reply
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

    async def _reply(self, target: Target, response: aiohttp.ClientResponse) -> Reply:
        ok = response.status == 200
        body = await _read(response, self._limit if ok else MAX_ERROR_BYTES)
        if body is None:
            if ok:
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
            self._proxies[origin] = found
        return self._proxies[origin]


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Return the body, or None when it is over the limit."""
    if (response.content_length or 0) > limit:
        return None
    pieces: list[bytes] = []
    size = 0
    while piece := await response.content.readany():
        size += len(piece)
        if size > limit:
            return None
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Events:
    """Iterates over the `data` of server-sent events, up to `[DONE]` or the end.

    Source: WHATWG HTML, section 9.2.6; `[DONE]` is OpenAI's.
    """

    def __init__(self, response: aiohttp.ClientResponse, target: Target, limit: int) -> None:
        self._response, self._target, self._limit = response, target, limit
        self._seen = 0
        self._rest = b""
        self._data: list[bytes] = []
        self._ready: list[bytes] = []
        self.done = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._ready:
            if self.done:
                raise StopAsyncIteration
            with _translated(self._target):
                async with asyncio.timeout_at(self._target.deadline):
                    piece = await self._response.content.readany()
            self._feed(piece)
        return self._ready.pop()

    def _feed(self, piece: bytes) -> None:
        self._seen += len(piece)
        if self._seen > self._limit:
            raise _too_large(self._target, self._limit)
        found: list[bytes] = []
        lines = (self._rest + piece).split(b"\n")
        # without its newline the last line is not whole yet, unless nothing follows any more
        self._rest = lines.pop() if piece else b""
        for line in lines if piece else (*lines, b""):
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                event = b"\n".join(self._data)
                self._data.clear()
                if event == b"[DONE]":
                    self.done = True
                    break
                found.append(event)
        self.done = self.done or not piece
        found.reverse()
        self._ready = found

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
def _translated(target: Target) -> Generator[None, None, None]:
    try:
        yield
    except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError) as error:
        raise ModelUnavailable(
            f"{target.provider}: no connection to {_origin(target.url)} "
            f"({type(error).__name__}: {error}); is it up, and is the base URL right?",
            provider=target.provider,
        ) from error
    except TimeoutError as error:
        raise ModelTimeout(
            f"{target.provider} did not finish within {target.timeout:.3g} s; raise the timeout, "
            "or ask for a shorter answer with max_tokens",
            provider=target.provider,
        ) from error


def _too_large(target: Target, limit: int) -> BadModelAnswer:
    return BadModelAnswer(
        f"{target.provider}'s answer is over the limit of {limit:,} bytes; ask for less at once",
        provider=target.provider,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
