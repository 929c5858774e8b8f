"""OpenAPI documents as sources of tools: read from a file, or fetched and kept."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aixgo.config.suggest import did_you_mean
from aixgo.errors import AixgoError, ConfigError, ToolUnavailable
from aixgo.pauses import Pauses
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.kinds import WrongKey
from aixgo.tools.net.answers import Answers, hidden_headers, secret_headers
from aixgo.tools.net.exchange import Call, normal_origin, origin_of
from aixgo.tools.net.guard import Guard
from aixgo.tools.net.http_tool import EFFECT_OF_METHOD, HttpTool
from aixgo.tools.net.options import spec_of
from aixgo.tools.net.web import Web
from aixgo.tools.openapi.operations import Api, Found, Operation
from aixgo.tools.openapi.reading import MAX_DOCUMENT_BYTES, read
from aixgo.tools.port import AnyTool
from aixgo.web.secrets import Secrets

if TYPE_CHECKING:
    from aixgo.tools.openapi import OpenApiOptions

log = logging.getLogger("aixgo.tools.openapi")

FIRST_WAIT_SECONDS = 10.0
"""How long the tools are waited for that were never there."""

FETCH_SECONDS = 30.0
"""Time for one attempt to fetch a document."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 60.0
"""Between two attempts."""

_MAX_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a declaration says.

    Attributes:
        headers: checked, with secrets.
    """

    options: OpenApiOptions
    name: str
    guard: Guard
    headers: Mapping[str, str] = field(repr=False)


class Maker:
    """Makes tools from a document; they share their connections.

    Args:
        what: the document is, in errors.
        where: its URL; empty for a file.
    """

    def __init__(self, settings: Settings, what: str, where: str = "") -> None:
        self.what, self._where = what, where
        self._settings, self._options = settings, settings.options
        self._query = {k: v.get_secret_value() for k, v in settings.options.query.items()}
        headers = settings.headers.items()
        self.secrets = Secrets([*secret_headers(headers), *self._query.values()])
        self._hidden = Secrets(hidden_headers(headers))
        self._shared, self._once = self._web(once=False), self._web(once=True)

    def _web(self, *, once: bool, max_body: int = 0) -> Web:
        options = self._options
        return Web(
            self.what,
            self._settings.guard,
            once=once,
            max_body=max_body or options.max_body,
            connect_timeout=options.connect_timeout,
            secrets=self.secrets,
        )

    async def open(self) -> None:
        """Keep connections; counted."""
        await self._shared.open()
        await self._once.open()

    async def close(self) -> None:
        """Close them, if this was the last user."""
        await self._shared.close()
        await self._once.close()

    async def fetch(self) -> dict[str, AnyTool]:
        """Return the tools of the document at its URL.

        Raises:
            ToolError: it cannot be fetched.
            ConfigError: it is not a document that can be used.
        """
        web = self._web(once=False, max_body=MAX_DOCUMENT_BYTES)
        headers = {"Accept": "application/json, application/yaml, */*;q=0.5"}
        if not self._options.server or origin_of(self._options.server) == origin_of(self._where):
            headers |= self._settings.headers
        call = Call(method="GET", url=self._where, headers=headers)
        async with asyncio.timeout(FETCH_SECONDS):
            reply = await web.send(call, remaining=FETCH_SECONDS, follow=True)
        if reply.status != 200:
            Answers(self.what, origin_of(self._where), secrets=self.secrets).value(reply, "GET")
            raise ConfigError(f"{self.what} was answered with {reply.status} and no document")
        return await asyncio.to_thread(lambda: self.tools(read(reply.body, self.what)))

    def tools(self, root: Mapping[str, Any]) -> dict[str, AnyTool]:
        """Return the tools of a document by their full names.

        Raises:
            ConfigError: an operation that is asked for is not there, or not supported.
        """
        with self._as_openapi_says(""):
            api = Api(root, self.what, self._where)
            found = self._chosen(api)
        tools: dict[str, AnyTool] = {}
        for one in found:
            try:
                with self._as_openapi_says(f": operation {one.id!r:.200}"):
                    tool = self._tool(api, one)
            except ConfigError as error:
                if self._options.operations is not None or isinstance(error, WrongKey):
                    raise
                log.warning("openapi.left_out", extra={"source": self.what, "error": str(error)})
                continue
            if tool.spec.name in tools:
                raise ConfigError(
                    f"{self.what}: two operations are named {one.id!r}; give one another "
                    "`operationId`"
                )
            tools[tool.spec.name] = tool
        if not tools:
            raise ConfigError(f"{self.what} has no operation that can be used as a tool")
        return tools

    @contextmanager
    def _as_openapi_says(self, place: str) -> Generator[None, None, None]:
        """Turn what a value of another type than it should have leads to into an error."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{self.what}{place} is not as OpenAPI says ({type(error).__name__}: "
                f"{error!s:.100}); check the document with a validator"
            ) from error

    def _chosen(self, api: Api) -> list[Found]:
        every = [*api.operations()]
        known = {one.id for one in every if one.id}
        for name in self._options.effects:
            if name not in known:
                raise WrongKey(
                    "effects", f"{self.what} has no operation {name!r}{did_you_mean(name, known)}"
                )
        wanted = self._options.operations
        if wanted is None:
            for one in every:
                if not one.id:
                    raise ConfigError(
                        f"{self.what}: {one} has no `operationId`; give it one, or choose others "
                        "with `operations:`"
                    )
            return every
        for name in wanted:
            if name not in known:
                raise WrongKey(
                    "operations",
                    f"{self.what} has no operation {name!r}{did_you_mean(name, known)}",
                )
        return [one for one in every if one.id in wanted]

    def _tool(self, api: Api, found: Found) -> HttpTool:
        options, name = self._options, f"{self._settings.name}:{_plain(found.id)}"
        if len(name) > _MAX_NAME:
            raise ConfigError(
                f"{self.what}: operation {found.id!r:.200}: the name of its tool has {len(name)} "
                f"characters, over the limit of {_MAX_NAME}; shorten its `operationId`"
            )
        operation = Operation(
            api, found, self._base(api, found), headers=self._settings.headers, query=self._query
        )
        arguments = JsonArguments(name, operation.schema)
        effect = options.effects.get(found.id) or options.effect
        effect = effect or EFFECT_OF_METHOD[operation.method]
        changes = {
            "description": operation.description,
            "effect": effect,
            "cache": options.cache if effect == "read" else 0.0,
        }
        spec = spec_of(options.model_copy(update=changes), name, effect, arguments.schema)
        return HttpTool(
            spec,
            arguments,
            operation,
            Answers(f"tool {name!r}", operation.origin, secrets=self.secrets, hidden=self._hidden),
            self._once if spec.effect == "once" else self._shared,
            key_header=options.idempotency_header.strip(),
            follow=options.follow == "same_origin",
        )

    def _base(self, api: Api, found: Found) -> str:
        """Return the base URL; what comes over the network does not choose where secrets go."""
        if self._options.server:
            return self._options.server
        base = api.server(found)
        if self._where and (self._settings.headers or self._query):
            origin = normal_origin(base.partition("?")[0], self.what)
            if origin != origin_of(self._where):
                raise WrongKey(
                    "server",
                    f"{self.what} was fetched from {origin_of(self._where)} and names the server "
                    f"{origin}; say `server: {origin}` so that `headers` and `query` may go there",
                )
        return base


def _plain(operation: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", operation)


class FileSource:
    """The tools of a file; there from the beginning (`ToolSource`)."""

    def __init__(self, name: str, maker: Maker, tools: Mapping[str, AnyTool]) -> None:
        self.name = name
        self._maker, self._tools = maker, tools

    async def open(self) -> None:
        """See `ToolSource.open`."""
        await self._maker.open()

    async def close(self) -> None:
        """See `ToolSource.close`."""
        await self._maker.close()

    async def tools(self) -> Mapping[str, AnyTool]:
        """See `ToolSource.tools`."""
        return self._tools


class UrlSource:
    """The tools of a document that is fetched once, with back-off (`ToolSource`)."""

    def __init__(self, settings: Settings, url: str) -> None:
        self.name = settings.name
        self._origin = origin_of(url)
        self._maker = Maker(settings, f"openapi {self.name!r} ({self._origin})", url)
        self._tools: Mapping[str, AnyTool] | None = None
        self._users = 0
        self._task: asyncio.Task[None] | None = None
        self._failure = ""

    async def open(self) -> None:
        """See `ToolSource.open`."""
        self._users += 1
        await self._maker.open()
        if self._tools is None and self._task is None:
            self._task = asyncio.create_task(self._fetch(), name=f"openapi: {self.name}")

    async def close(self) -> None:
        """See `ToolSource.close`."""
        self._users -= 1
        await self._maker.close()
        if self._users <= 0 and self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def tools(self) -> Mapping[str, AnyTool]:
        """See `ToolSource.tools`."""
        if self._tools is None:
            if self._task is None:
                await self._attempt()
            else:
                await asyncio.wait([self._task], timeout=FIRST_WAIT_SECONDS)
        if self._tools is None:
            raise ToolUnavailable(
                f"openapi {self.name!r}: the document at {self._origin} could not be used: "
                f"{self._failure or f'it did not come within {FIRST_WAIT_SECONDS:g} s'}"
            )
        return self._tools

    async def _fetch(self) -> None:
        pauses = Pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while not await self._attempt():
            log.warning("openapi.away", extra={"source": self.name, "error": self._failure})
            await pauses.wait()
        log.info("openapi.ready", extra={"source": self.name, "tools": len(self._tools or ())})

    async def _attempt(self) -> bool:
        try:
            self._tools = await self._maker.fetch()
        except TimeoutError:
            self._failure = f"it did not come within {FETCH_SECONDS:g} s"
        except AixgoError as error:
            self._failure = str(error)
        return self._tools is not None
