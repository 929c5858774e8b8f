"""What travels on a NATS connection: subjects, header blocks, commands."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aixgo.broker.headers import LateHeaders
from aixgo.broker.port import Headers
from aixgo.errors import BadHeader, BadSubject

STATUS = ":status"
"""Key under which a status of the server stands among the headers; no header key has a colon."""

DESCRIPTION = ":description"

MAX_SUBJECT_BYTES = 1024
"""A server hangs up on a protocol line over 4096 bytes; it holds a subject, a reply and sizes."""

MAX_KNOWN_KEYS = 1024
"""Header keys that are remembered as valid; a program uses a handful."""

_PREAMBLE = "NATS/1.0"
_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FILTER = re.compile(r"(?:[^ \t\r\n\0.>]+\.)*(?:[^ \t\r\n\0.>]+|>)")
_SUBJECT = re.compile(r"[^ \t\r\n\0]+")
_ONE_LINE = str.maketrans({"\r": " ", "\n": " "})

_known_keys: set[str] = set()


def check_subject(subject: str) -> None:
    """Check a subject to publish to.

    Raises:
        BadSubject: it is empty, too long, or could be read as more than one word.
    """
    if _SUBJECT.fullmatch(subject) is None or ".." in f".{subject}.":
        raise BadSubject(
            f"subject {subject!r} has an empty token or white space; write tokens joined by single "
            "dots, or build it with `aixgo.subjects`"
        )
    if 4 * len(subject) > MAX_SUBJECT_BYTES and len(subject.encode()) > MAX_SUBJECT_BYTES:
        raise BadSubject(
            f"subject {subject[:40]!r}… is {len(subject.encode()):,} bytes, over the limit of "
            f"{MAX_SUBJECT_BYTES:,} bytes; shorten its tokens"
        )


def check_filter(subject: str) -> None:
    """Check a subject to subscribe to, wildcards included.

    Raises:
        BadSubject: as for `check_subject`; also for an empty token, and for `>` before the end.
    """
    if _FILTER.fullmatch(subject) is not None and 4 * len(subject) <= MAX_SUBJECT_BYTES:
        return
    check_subject(subject)
    if _FILTER.fullmatch(subject) is None:
        raise BadSubject(
            f"subject {subject!r} cannot be subscribed to: no token may be empty, and '>' stands "
            "alone at the end"
        )


def encode_headers(headers: Headers) -> bytes:
    """Return the header block of a message.

    Values are stripped, and a line break in one becomes a space, so that no value can end its line.

    Raises:
        BadHeader: a key or a value cannot be sent.
    """
    lines = [_PREAMBLE]
    for key, value in headers.items():
        if key not in _known_keys:
            _check_key(key)
        if not isinstance(value, str):
            raise BadHeader(f"header {key!r} is {value!r}; a value must be a str")
        value = value.strip()
        if "\r" in value or "\n" in value:
            value = value.translate(_ONE_LINE)
        lines.append(f"{key}: {value}")
    lines.append("\r\n")
    try:
        return "\r\n".join(lines).encode()
    except UnicodeEncodeError as error:
        raise BadHeader(f"a header value cannot be written as UTF-8: {error}") from None


def _check_key(key: str) -> None:
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise BadHeader(
            f"header key {key!r} cannot be sent: use letters, digits, '-' and '_', at least one"
        )
    if len(_known_keys) < MAX_KNOWN_KEYS:
        _known_keys.add(key)


def parse_headers(block: bytes) -> dict[str, str]:
    """Return the headers of a received block; a status of the server under `STATUS`."""
    lines = block.decode("utf-8", "replace").split("\r\n")
    found: dict[str, str] = {}
    if len(lines[0]) > len(_PREAMBLE):
        code, _, text = lines[0][len(_PREAMBLE) :].strip().partition(" ")
        found[STATUS] = code
        found[DESCRIPTION] = text
    for line in lines[1:]:
        key, colon, value = line.partition(":")
        if colon:
            found[key.strip()] = value.strip()
    return found


class ReceivedHeaders(LateHeaders):
    """The headers of a received block; `block` as for `parse_headers`."""

    __slots__ = ("_block",)

    def __init__(self, block: bytes) -> None:
        self._block, self._found = block, None

    def _read(self) -> dict[str, str]:
        return parse_headers(self._block)


def adopt_headers(headers: Mapping[str, str] | None, data: bytes) -> dict[str, str]:
    """Return headers that nats-py has parsed in the form of `parse_headers`."""
    found = dict(headers or {})
    if not data and found.get("Status", "").isdigit():
        found[STATUS] = found.pop("Status")
        found[DESCRIPTION] = found.pop("Description", "")
    return found


def pub(subject: str, reply: str, headers: bytes, data: bytes) -> bytes:
    """Return the command that publishes a message; empty `headers` for none."""
    if headers:
        return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
            subject.encode(),
            reply.encode(),
            len(headers),
            len(headers) + len(data),
            headers,
            data,
        )
    return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data)


def sub(subject: str, queue: str, sid: int) -> bytes:
    """Return the command that subscribes; empty `queue` for no group."""
    return f"SUB {subject} {queue} {sid}\r\n".encode()


def unsub(sid: int, limit: int = 0) -> bytes:
    """Return the command that ends a subscription, at once or after `limit` messages in all."""
    return b"UNSUB %d %d\r\n" % (sid, limit) if limit else b"UNSUB %d\r\n" % sid
