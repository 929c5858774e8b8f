"""What a server answers that is polled: one request, its items and its cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import Field, JsonValue, SecretStr

from aixgo.config.agents import Options
from aixgo.config.durations import PositiveDuration
from aixgo.errors import AddressBlocked, ConfigError, ToolUnavailable
from aixgo.tools.http import HttpOptions, RequestTemplate
from aixgo.tools.kinds import WrongKey
from aixgo.tools.net.answers import Answers, ResultPath, hidden_headers
from aixgo.tools.net.options import MAX_BODY_BYTES, guard_of
from aixgo.web.secrets import Secrets

_CURSOR = "{cursor}"


class PollOptions(Options):
    """A server that is asked for events."""

    url: str = Field(min_length=1, max_length=8_000, repr=False)
    """Address; `{cursor}` in its path or query is where the last answer ended."""
    method: Literal["GET", "POST"] = "GET"
    """Method of the request; it should change nothing, because it is repeated."""
    headers: dict[str, SecretStr] = Field(default={})
    """Sent with every request. Write secrets as `${VAR}`."""
    query: dict[str, str | int | float | bool] = Field(default={}, repr=False)
    """Added to the query of the URL; a value with `{cursor}` is left out while there is none."""
    body: JsonValue = Field(default=None, repr=False)
    """Body of a POST in JSON, with `{cursor}` in it."""
    items: str = ""
    """JSON path of the events in the answer (RFC 9535), such as `$.items`: each member of a list is
    one event. Without it the whole answer is one, whenever it has changed."""
    id: str = ""
    """JSON path of an item's id, such as `$.id`. Without it an item is known by its content; or by
    its place after the cursor, if there is one."""
    cursor: str = ""
    """JSON path of the next `{cursor}` in the answer, such as `$.next` or `$.items[-1].id`; the
    cursor stays where it is while that finds nothing."""
    start: str | int | None = None
    """The `{cursor}` before the first answer."""
    pages: int = Field(default=1, ge=1, le=1_000)
    """Most requests of one poll: while the cursor moves on, the next one follows at once."""
    reverse: bool = False
    """Publish the items of an answer from the last to the first, for a server that lists the newest
    first."""
    timeout: PositiveDuration = 30.0
    """Time for one request."""
    connect_timeout: PositiveDuration = 10.0
    """Time to get a connection, within `timeout`."""
    max_body: int = Field(default=MAX_BODY_BYTES, ge=1_024, le=64 * 1024 * 1024)
    """Longest answer in bytes, unpacked; a longer one is an error."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts, addresses and networks that may be connected to although their addresses are not
    public, such as `api.internal` or `10.1.0.0/16`."""
    allow_private: bool = False
    """Whether all private and loopback addresses may be connected to."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """An answer.

    Attributes:
        items: in the order in which they are published.
        ids: what names each item; a text or any JSON value.
        cursor: where to go on; None when the answer does not say.
        etag: of the answer.
        whole: the answer itself is the one item.
    """

    items: list[Any]
    ids: list[Any]
    cursor: Any
    etag: str
    whole: bool


class Pages:
    """Asks one server.

    Attributes:
        most: requests of one poll.
        has_cursor: requests depend on the answer before.

    Raises:
        ConfigError: the declaration is wrong; names the key.
    """

    def __init__(self, agent: str, options: PollOptions) -> None:
        what = f"agent {agent!r}: http"
        self._what, self._options = what, options
        self.most, self.has_cursor = options.pages, bool(options.cursor)
        self._check()
        request = HttpOptions(
            type="http",
            name=agent,
            url=options.url,
            method=options.method,
            headers=options.headers,
            query=options.query,
            body=options.body,
            parameters={"cursor": {}} if self.has_cursor else {},
            connect_timeout=options.connect_timeout,
            max_body=options.max_body,
            allow_hosts=options.allow_hosts,
            allow_private=options.allow_private,
            idempotency_header="",
        )
        # imported here, before anything runs: only who polls pays for an HTTP client
        from aixgo.tools.net.web import Web

        try:
            given = {"cursor"} if options.start is not None else set()
            self._request = RequestTemplate(request, what, given)
            guard = guard_of(request, what)
        except WrongKey as error:
            raise ConfigError(f"{what}: {error.key}: {error}") from error
        try:
            guard.check_host(urlsplit(self._request.origin).hostname or "")
        except AddressBlocked as error:
            raise ConfigError(str(error)) from error
        secrets = Secrets(self._request.secrets)
        hidden = Secrets(hidden_headers(self._request.constant_headers))
        self._answers = Answers(what, self._request.origin, secrets=secrets, hidden=hidden)
        self._items, self._id, self._cursor = (
            ResultPath(path, f"{what}: {key}") if path else None
            for key, path in (
                ("items", options.items),
                ("id", options.id),
                ("cursor", options.cursor),
            )
        )
        self._web = Web(
            what,
            guard,
            once=False,
            max_body=options.max_body,
            connect_timeout=options.connect_timeout,
            secrets=secrets,
        )

    def _check(self) -> None:
        """Refuse keys that do not fit together."""
        options, what = self._options, self._what
        places = [options.url, *map(str, options.query.values())]
        places += [one.get_secret_value() for one in options.headers.values()]
        places.append(msgspec.json.encode(options.body).decode())
        used = any(_CURSOR in place for place in places)
        if used and not self.has_cursor:
            raise ConfigError(
                f"{what}: the request has {_CURSOR} in it, but `cursor` does not say where the "
                "answer has it; add a JSON path such as `cursor: $.next`"
            )
        if self.has_cursor and not used:
            raise ConfigError(
                f"{what}: the cursor goes nowhere; write {_CURSOR} in `url`, `query`, `headers` or "
                "`body`"
            )
        if self.has_cursor and options.start is None and _CURSOR in options.url.partition("?")[0]:
            raise ConfigError(
                f"{what}: {_CURSOR} is part of the path, so the first request needs one; add "
                "`start`"
            )
        for key in ("start", "pages"):
            if key in options.model_fields_set and not self.has_cursor:
                raise ConfigError(f"{what}: {key} belongs to a `cursor`; add one, or leave it out")
        for key in ("id", "reverse"):
            if getattr(options, key) and not options.items:
                raise ConfigError(f"{what}: {key} belongs to `items`; add that, or leave it out")

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None, None]:
        """Keep connections until the block is left."""
        await self._web.open()
        try:
            yield
        finally:
            await self._web.close()

    async def ask(self, cursor: Any, etag: str) -> Page | None:
        """Return the answer to one request; None when the server says that nothing has changed.

        Raises:
            ToolError: there is no answer, or it is not what was declared.
        """
        options = self._options
        cursor = options.start if cursor is None else cursor
        call = self._request.call({} if cursor is None else {"cursor": cursor})
        if etag:
            call = replace(call, headers={**call.headers, "If-None-Match": etag})
        try:
            async with asyncio.timeout(options.timeout):
                reply = await self._web.send(call, remaining=options.timeout, follow=True)
        except TimeoutError:
            raise ToolUnavailable(
                f"{self._what}: {self._request.origin} gave no whole answer within "
                f"{options.timeout:g} s; raise `timeout`, or ask for less"
            ) from None
        if reply.status == 304:
            return None
        return self._page(self._answers.value(reply, call.method), _etag(reply.headers))

    def _page(self, value: Any, etag: str) -> Page:
        items = [value] if self._items is None else self._items.take(value, self._what)
        if not isinstance(items, list):
            items = [items]
        if self._options.reverse:
            items = items[::-1]
        name = self._id
        ids = items if name is None else [name.take(item, self._what) for item in items]
        found = [] if self._cursor is None else self._cursor.find(value)
        cursor = found[-1] if found else None
        return Page(
            items=items,
            ids=ids,
            # null and an empty text are how servers say that there is no more
            cursor=None if cursor == "" else cursor,
            etag=etag,
            whole=self._items is None,
        )


def _etag(headers: Mapping[str, str]) -> str:
    return next((value for name, value in headers.items() if name.lower() == "etag"), "")
