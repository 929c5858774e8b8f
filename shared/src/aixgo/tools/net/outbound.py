"""Requests to one address for a role: guarded as those of tools are, without being one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr

from aixgo.config.agents import Options
from aixgo.config.durations import PositiveDuration
from aixgo.errors import AddressBlocked, ConfigError, ToolUnavailable
from aixgo.tools.http import HttpOptions, RequestTemplate
from aixgo.tools.kinds import WrongKey
from aixgo.tools.net.answers import Answers, hidden_headers
from aixgo.tools.net.options import MAX_BODY_BYTES, guard_of
from aixgo.web.secrets import Secrets

if TYPE_CHECKING:
    from aixgo.tools.net.exchange import Reply


class AddressOptions(Options):
    """The keys of an address that a role asks, or sends to."""

    url: str = Field(min_length=1, max_length=8_000, repr=False)
    """Address."""
    headers: dict[str, SecretStr] = Field(default={})
    """Sent with every request. Write secrets as `${VAR}`; no error or log shows a value."""
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


class Outbound:
    """Sends requests to one address.

    Args:
        what: it is for, in errors, such as "agent 'orders': http".
        query, body: of a request, with `{place}` in their values.
        places: that are filled in for each request.
        given: those of the places that always have a value.

    Raises:
        ConfigError: the declaration is wrong; names the key.
    """

    def __init__(
        self,
        what: str,
        options: AddressOptions,
        *,
        method: Literal["GET", "POST"],
        query: Mapping[str, str | int | float | bool] | None = None,
        body: JsonValue = None,
        places: Collection[str] = (),
        given: Collection[str] = (),
    ) -> None:
        self.what, self._seconds = what, options.timeout
        request = HttpOptions(
            type="http",
            url=options.url,
            method=method,
            headers=options.headers,
            query=dict(query or {}),
            body=body,
            parameters={place: {} for place in places},
            connect_timeout=options.connect_timeout,
            max_body=options.max_body,
            allow_hosts=options.allow_hosts,
            allow_private=options.allow_private,
            idempotency_header="",
        )
        # imported here, before anything runs: only who sends pays for an HTTP client
        from aixgo.tools.net.web import Web

        try:
            self._request = RequestTemplate(request, what, set(given))
            guard = guard_of(request, what)
            guard.check_host(urlsplit(self.origin).hostname or "")
        except WrongKey as error:
            raise ConfigError(f"{what}: {error.key}: {error}") from error
        except AddressBlocked as error:
            raise ConfigError(str(error)) from error
        secrets = Secrets(self._request.secrets)
        hidden = Secrets(hidden_headers(self._request.constant_headers))
        self._answers = Answers(what, self.origin, secrets=secrets, hidden=hidden)
        self._web = Web(
            what,
            guard,
            once=False,
            max_body=options.max_body,
            connect_timeout=options.connect_timeout,
            secrets=secrets,
        )

    @property
    def origin(self) -> str:
        """Scheme, host and port: what may be shown of the address."""
        return self._request.origin

    async def open(self) -> None:
        """Keep connections from now on; counted."""
        await self._web.open()

    async def close(self) -> None:
        """Close them, if this was the last user."""
        await self._web.close()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None, None]:
        """Keep connections until the block is left."""
        await self.open()
        try:
            yield
        finally:
            await self.close()

    async def send(
        self,
        places: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Return the answer, whatever its status.

        Args:
            headers: besides those that are declared.
            body: instead of the one that is declared.

        Raises:
            ToolError: there is no answer; says whether it may help to try again.
        """
        call = self._request.call(places or {})
        if headers:
            call = replace(call, headers={**call.headers, **headers})
        if body is not None:
            call = replace(call, body=body)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._web.send(call, remaining=self._seconds, follow=True)
        except TimeoutError:
            raise ToolUnavailable(
                f"{self.what}: {self.origin} gave no whole answer within {self._seconds:g} s; "
                "raise `timeout`, or ask for less"
            ) from None

    def value(self, reply: Reply) -> Any:
        """Return the value in an answer: its JSON, or its text.

        Raises:
            ToolError: the server refused, or the body is neither.
        """
        return self._answers.value(reply, self._request.method)
