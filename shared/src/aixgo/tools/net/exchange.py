"""Requests and answers over HTTP, and what may be told of a URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPMethod, HTTPStatus

from aixgo.errors import ConfigError, MissingExtra

try:
    from yarl import URL
except ImportError as error:
    raise MissingExtra("a tool over the network", "tools") from error


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request.

    Attributes:
        url: encoded; nothing of it is changed.
        headers: with secrets.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A whole answer.

    Attributes:
        media_type: in lower case, without parameters; empty when the answer names none.
        charset: of the body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    media_type: str = ""
    charset: str = "utf-8"


def redirected(call: Call, reply: Reply) -> Call | None:
    """Return the request that a redirect at the same origin asks for; or None."""
    location = next((v for k, v in reply.headers.items() if k.lower() == "location"), "")
    if reply.status not in (301, 302, 303, 307, 308) or not location:
        return None
    here = URL(call.url, encoded=True)
    try:
        target = here.join(URL(location)).with_fragment(None)
        elsewhere = target.origin() != here.origin()
    except ValueError:  # it is not a URL, or one without a host
        return None
    if elsewhere or target.user is not None or target.password is not None:
        return None
    see_other = reply.status == HTTPStatus.SEE_OTHER and call.method != HTTPMethod.HEAD
    if see_other or (reply.status < 303 and call.method == HTTPMethod.POST):
        dropped = ("content-type", "idempotency-key")
        kept = {name: v for name, v in call.headers.items() if name.lower() not in dropped}
        return replace(call, method="GET", url=str(target), headers=kept, body=None)
    return replace(call, url=str(target))


def normal_origin(text: str, what: str) -> str:
    """Return scheme, host and port as they are connected to: lower case, without Unicode.

    Raises:
        ConfigError: they are not those of a plain URL.
    """
    try:
        url = URL(text)
        web = url.scheme in ("http", "https") and url.raw_host and url.port
        if web and url.user is None and url.password is None:
            return str(url.origin())
    except ValueError:
        pass
    raise ConfigError(
        f"{what}: {text.rpartition('@')[2]!r:.100} is not the beginning of a URL; write scheme and "
        "host, such as https://api.example.com, and no user or password"
    )


def origin_of(url: str) -> str:
    """Return what errors show of a URL; paths and queries may hold secrets."""
    try:
        return str(URL(url, encoded=True).origin())
    except ValueError:
        return "the address"
