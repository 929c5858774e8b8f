"""Headers: what can be sent, how large they are, and those that the server itself reads."""

from __future__ import annotations

import re
from types import MappingProxyType

from aixgo.broker import headers as names
from aixgo.broker.headers import LateHeaders
from aixgo.broker.port import Headers, Record
from aixgo.errors import BadHeader, StreamRefused

EMPTY: Headers = MappingProxyType({})
"""No headers; it cannot be changed, so all can share it."""

NEVER = -1.0
"""Time to live of a record that outlives even the stream's `max_age`."""

_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_good_keys: set[str] = set()
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def clean(headers: Headers) -> dict[str, str]:
    """Return the headers as they arrive: values stripped and on one line.

    Raises:
        BadHeader: a key or value cannot be sent.
    """
    cleaned: dict[str, str] = {}
    for key, value in headers.items():
        if key not in _good_keys:
            _check_key(key)
        if not isinstance(value, str):
            raise BadHeader(f"header {key!r} is a {type(value).__name__}; make it a str")
        value = value.strip()
        if "\n" in value or "\r" in value:
            value = value.replace("\r", " ").replace("\n", " ")
        cleaned[key] = value
    return cleaned


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise BadHeader(
            f"header key {key!r} cannot be sent; use letters, digits, '-' and '_', at least one"
        )
    if len(_good_keys) < 1024:
        _good_keys.add(key)


def size(headers: Headers) -> int:
    """Return the bytes that the headers take on the wire."""
    if not headers:
        return 0
    size = 12
    for key, value in headers.items():
        size += len(key) + 4 + (len(value) if value.isascii() else _encoded_size(key, value))
    return size


def stored_size(headers: Headers) -> int:
    """Return about what the headers take in a store: `size`, but quick, in characters."""
    return 12 + 4 * len(headers) + len("".join(headers)) + len("".join(headers.values()))


def _encoded_size(key: str, value: str) -> int:
    try:
        return len(value.encode())
    except UnicodeEncodeError as error:
        raise BadHeader(
            f"the value of header {key!r} cannot be written as UTF-8: {error}"
        ) from None


def sealed(headers: dict[str, str]) -> Headers:
    """Return a view that no receiver can change for another one."""
    return MappingProxyType(headers)


class RepublishedHeaders(LateHeaders):
    """What a republished record says about itself, besides its own headers.

    Args:
        previous: sequence of the record that its subject had before, 0 for none.
    """

    __slots__ = ("_previous", "_record")

    def __init__(self, record: Record, previous: int) -> None:
        self._record, self._previous, self._found = record, previous, None

    def _read(self) -> dict[str, str]:
        record = self._record
        return {
            **record.headers,
            names.STREAM: record.stream,
            names.SUBJECT: record.subject,
            names.SEQUENCE: str(record.sequence),
            names.LAST_SEQUENCE: str(self._previous),
        }


def seconds_of(ttl: str) -> float:
    """Return the whole seconds of a `Nats-TTL`: `30`, `30s`, `1h30m`, or `NEVER` for `never`.

    Raises:
        StreamRefused: it is none of these, or below one second.
    """
    if ttl == "never":
        return NEVER
    if ttl.isdecimal():
        seconds = int(ttl)
    else:
        found = _DURATION.fullmatch(ttl)
        parts = map(int, found.groups(default="0")) if found else (0, 0, 0, 0)
        hours, minutes, rest, milliseconds = parts
        seconds = hours * 3600 + minutes * 60 + rest + milliseconds // 1000
    if seconds < 1:
        raise StreamRefused(
            f"time to live {ttl!r} is not a whole number of seconds from 1 on; write '30s' or '1h'"
        )
    return float(seconds)
