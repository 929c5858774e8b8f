"""What an answer over HTTP means: a value, or an error that says whether anything was done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.errors import (
    ConfigError,
    MissingExtra,
    OutcomeUnknown,
    ToolError,
    ToolNotDone,
    cut,
)
from aixgo.web.retry_after import retry_after_of
from aixgo.web.secrets import NOTHING, Secrets

if TYPE_CHECKING:
    from aixgo.tools.net.exchange import Reply

LONGEST_RETRY_AFTER = 60.0
"""Seconds: a server may ask a step to wait, but not for ever."""

_SAID_CHARS = 300
"""Of a server's text in an error."""

_LATER = frozenset({408, 425, 429, 503})
"""The server says that it did not begin, and may later."""

_NEVER = frozenset({501, 505})
"""The server says that it cannot do that."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\s]+")
_TEXT = re.compile(r"text/|application/(?:xml|yaml|x-yaml|javascript|x-ndjson|graphql)|.*\+xml")
_SECRET_NAME = re.compile(
    r"auth|key|token|secret|password|cookie|credential|session|signature", re.IGNORECASE
)
_LONG_WORD = 20
_PLAIN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "from"),
        *("origin", "prefer", "referer", "user-agent"),
    }
)


def names_secret(name: str) -> bool:
    """Whether what has this name is a secret, as far as the name tells."""
    return _SECRET_NAME.search(name) is not None


def secret_headers(headers: Iterable[tuple[str, str]]) -> list[str]:
    """Return the values of headers that no error may show: all that are not known to be plain."""
    return [value for name, value in headers if name.lower() not in _PLAIN_HEADERS]


def hidden_headers(headers: Iterable[tuple[str, str]]) -> list[str]:
    """Return the values of headers that no answer may show: those that are secrets by name."""
    return [value for name, value in headers if names_secret(name)]


def secrets_in(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return the values that are secrets by their name, or may be one by their look."""
    return [
        value
        for name, value in pairs
        if names_secret(name) or (len(value) >= _LONG_WORD and " " not in value)
    ]


class ResultPath:
    """The part of an answer that is the value: a JSON path (RFC 9535).

    Raises:
        ConfigError: it is not one, or the extra `tools` is not installed.
    """

    def __init__(self, path: str, what: str) -> None:
        try:
            import jsonpath
        except ImportError as error:
            raise MissingExtra("a JSON path", "tools") from error
        self._text = path
        try:
            found = jsonpath.JSONPathEnvironment(strict=True).compile(path)
        except jsonpath.JSONPathError as error:
            said = str(error).partition("\n")[0]
            raise ConfigError(
                f"{what}: {path!r:.100} is not a JSON path ({said}); write one such as $.items[0], "
                "or $.items[*].name for all of them (RFC 9535)"
            ) from error
        self._path = found
        self._one = isinstance(found, jsonpath.JSONPath) and found.singular_query()

    def find(self, value: Any) -> list[Any]:
        """Return everything that it finds."""
        return self._path.findall(value)

    def take(self, value: Any, what: str) -> Any:
        """Return the value at the path; a list of all when it may find several.

        Raises:
            ToolError: it finds nothing where it names one thing.
        """
        found = self.find(value)
        if not self._one:
            return found
        if found:
            return found[0]
        there = (
            f"its members are {', '.join(map(repr, [*value][:20])) or 'none'}"
            if isinstance(value, Mapping)
            else f"it is {cut(msgspec.json.encode(value).decode(), 80)}"
        )
        raise ToolError(f"{what}: {self._text} finds nothing in the answer; {there}; mend the path")


class Answers:
    """Reads the answers of one tool.

    Args:
        what: it is, in errors.
        origin: where they come from, in errors.
        result: JSON path of the value; empty for the whole answer.
        secrets: what no error may show.
        hidden: what no value may show: a server that repeats what it was sent would tell a model.
    """

    def __init__(
        self,
        what: str,
        origin: str,
        *,
        result: str = "",
        secrets: Secrets = NOTHING,
        hidden: Secrets = NOTHING,
    ) -> None:
        self._what, self._origin = what, origin
        self._result = ResultPath(result, f"{what}: result") if result else None
        self._secrets, self._hidden = secrets, hidden

    def value(self, reply: Reply, method: str) -> Any:
        """Return the value in an answer.

        Raises:
            ToolNotDone: the server says that it did nothing.
            OutcomeUnknown: it may have been done.
            ToolError: the answer has no such value.
        """
        if not 200 <= reply.status < 300:
            raise self._refusal(reply, method)
        if not reply.body:
            if self._result is None:
                return None
            raise self._unfit(reply, "is empty")
        text = self._text(reply)
        if self._result is not None:
            try:
                return self._result.take(_loads(text), self._what)
            except ValueError:
                raise self._unfit(reply, f"is not JSON: {self._said(reply)!r}") from None
        if _is_json(reply.media_type) or not reply.media_type:
            try:
                return _loads(text)
            except ValueError:
                return text
        if reply.media_type == "application/octet-stream" or not _TEXT.match(reply.media_type):
            raise self._unfit(
                reply, f"is {reply.media_type} ({len(reply.body):,} bytes), neither JSON nor text"
            )
        return text

    def _text(self, reply: Reply) -> str:
        try:
            text = reply.body.decode(reply.charset, "replace")
        except LookupError:
            text = reply.body.decode("utf-8", "replace")
        return self._hidden.without(text.removeprefix("\ufeff"))

    def _unfit(self, reply: Reply, how: str) -> ToolError:
        return ToolError(
            f"{self._what}: {self._origin} answered {reply.status}, and the body {how}"
        )

    def _refusal(self, reply: Reply, method: str) -> ToolError:
        said = self._said(reply)
        text = f"{self._what}: {self._origin} answered {reply.status}{f': {said}' if said else ''}"
        wait = retry_after_of(reply.headers)
        wait = None if wait is None else min(wait, LONGEST_RETRY_AFTER)
        status = reply.status
        if status in _LATER:
            return ToolNotDone(text, retry_after=wait)
        if status in _NEVER or 400 <= status < 500:
            return ToolNotDone(text, retryable=False)
        if status < 400:
            text += "; redirects are followed at the same origin only, so write where it leads to"
            if status in (307, 308) or method in ("GET", "HEAD", "OPTIONS"):
                return ToolNotDone(text, retryable=False)
            return ToolError(text)  # such as 303 after a POST: it was done
        # a gateway (502, 504) does not know what the server behind it has done
        return OutcomeUnknown(f"{text}; whether it was done is not known", retry_after=wait)

    def _said(self, reply: Reply) -> str:
        """Return the server's sentence, on one line and without secrets."""
        text = reply.body[: 20 * _SAID_CHARS].decode("utf-8", "replace")
        return cut(self._secrets.clean(_CONTROL.sub(" ", _sentence(text)).strip()), _SAID_CHARS)


def _is_json(media_type: str) -> bool:
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def _loads(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError("not JSON") from error


def _sentence(text: str) -> str:
    """Return the message in an error's body; or the body, without tags if it is a page."""
    try:
        body = _loads(text)
    except ValueError:
        return re.sub(r"<(?:script|style).*?</(?:script|style)>|<[^>]*>", " ", text, flags=re.S)
    if isinstance(body, Mapping):
        for place in (body.get("error"), body):
            if isinstance(place, str) and place:
                return place
            if isinstance(place, Mapping):
                for name in ("message", "detail", "error_description", "title"):
                    if isinstance(found := place.get(name), str) and found:
                        return found
    return text
