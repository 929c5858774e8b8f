"""What a server answers that is polled: one request, its items and its cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from pydantic import Field, JsonValue

from aixgo.errors import ConfigError
from aixgo.tools.net.answers import ResultPath
from aixgo.tools.net.outbound import AddressOptions, Outbound

_CURSOR = "{cursor}"


class PollOptions(AddressOptions):
    """A server that is asked for events."""

    url: str = Field(min_length=1, max_length=8_000, repr=False)
    """Address; `{cursor}` in its path or query is where the last answer ended."""
    method: Literal["GET", "POST"] = "GET"
    """Method of the request; it should change nothing, because it is repeated."""
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
        self._server = Outbound(
            what,
            options,
            method=options.method,
            query=options.query,
            body=options.body,
            places=["cursor"] if self.has_cursor else [],
            given=["cursor"] if options.start is not None else [],
        )
        self.open = self._server.opened
        self._items, self._id, self._cursor = (
            ResultPath(path, f"{what}: {key}") if path else None
            for key, path in (
                ("items", options.items),
                ("id", options.id),
                ("cursor", options.cursor),
            )
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

    async def ask(self, cursor: Any, etag: str) -> Page | None:
        """Return the answer to one request; None when the server says that nothing has changed.

        Raises:
            ToolError: there is no answer, or it is not what was declared.
        """
        options = self._options
        cursor = options.start if cursor is None else cursor
        reply = await self._server.send(
            {} if cursor is None else {"cursor": cursor},
            headers={"If-None-Match": etag} if etag else None,
        )
        if reply.status == 304:
            return None
        return self._page(self._server.value(reply), _etag(reply.headers))

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
