"""What comes back over a WebSocket: the value, the end of a stream, a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aixgo.errors import ConfigError, ToolError, ToolNotDone, cut
from aixgo.tools.net.answers import ResultPath
from aixgo.web.secrets import Secrets

_NOT_JSON = object()
_SAID_CHARS = 300


class End:
    """The marker at the end of a stream.

    Args:
        marker: the text of the message, or values by member or JSON path of a JSON message.

    Raises:
        ConfigError: a JSON path is not one.
    """

    def __init__(self, marker: str | Mapping[str, Any], what: str) -> None:
        self._text = marker if isinstance(marker, str) else None
        self._values = [
            (ResultPath(name if name[:1] == "$" else f"$[{_quoted(name)}]", what), value)
            for name, value in (marker.items() if isinstance(marker, Mapping) else ())
        ]

    def is_at(self, text: str, value: Any) -> bool:
        """Whether a message is the marker."""
        if self._text is not None:
            return text == self._text
        return value is not _NOT_JSON and all(
            wanted in path.find(value) for path, wanted in self._values
        )


def _quoted(name: str) -> str:
    return msgspec.json.encode(name).decode()


class Reading:
    """How the messages of a declaration are read.

    Attributes:
        end: of a stream; None when one message is the answer.
        max_messages: of one stream.
    """

    def __init__(
        self,
        what: str,
        *,
        result: str,
        error: str,
        end: str | Mapping[str, Any] | None,
        join: str | None,
        max_messages: int,
        secrets: Secrets,
        hidden: Secrets,
    ) -> None:
        self.what = what
        self.result = ResultPath(result, f"{what}: result") if result else None
        self.error = ResultPath(error, f"{what}: error") if error else None
        self.end = End(end, f"{what}: end") if end is not None else None
        self.join, self.max_messages = join, max_messages
        self.secrets, self.hidden = secrets, hidden


class Replies:
    """Collects the messages of one request."""

    def __init__(self, reading: Reading) -> None:
        self._how = reading
        self._values: list[Any] = []
        self._count = 0

    def take(self, message: str | bytes) -> bool:
        """Take a message; whether it was the last.

        Raises:
            ToolNotDone: the far side says that it refuses.
            ToolError: the message is not what the declaration says, or there are too many.
        """
        how = self._how
        self._count += 1
        if how.end is not None and self._count > how.max_messages:
            raise ToolError(
                f"{how.what}: more than {how.max_messages:,} messages came and no end marker; "
                "check `end`, or raise `max_messages`"
            )
        text = how.hidden.without(_decoded(message, how.what))
        value = _loads(text)
        self._refuse_errors(value)
        ended = how.end is not None and how.end.is_at(text, value)
        if how.end is None:
            self._values.append(self._value(text, value))
        elif how.result is not None:
            if value is not _NOT_JSON:
                self._values += how.result.find(value)
            elif not ended:
                raise self._not_json(text)
        elif not ended:
            self._values.append(text if value is _NOT_JSON else value)
        return ended or how.end is None

    @property
    def value(self) -> Any:
        """What all of them say together."""
        if self._how.end is None:
            return self._values[0]
        if self._how.join is not None:
            return self._how.join.join(
                one if isinstance(one, str) else msgspec.json.encode(one).decode()
                for one in self._values
            )
        return self._values

    def _value(self, text: str, value: Any) -> Any:
        if self._how.result is None:
            return text if value is _NOT_JSON else value
        if value is _NOT_JSON:
            raise self._not_json(text)
        return self._how.result.take(value, self._how.what)

    def _refuse_errors(self, value: Any) -> None:
        if self._how.error is None or value is _NOT_JSON:
            return
        for found in self._how.error.find(value):
            if found is None or found is False:
                continue
            said = found if isinstance(found, str) else msgspec.json.encode(found).decode()
            said = cut(self._how.secrets.clean(said), _SAID_CHARS)
            raise ToolNotDone(f"{self._how.what}: the far side refused: {said}", retryable=False)

    def _not_json(self, text: str) -> ToolError:
        said = cut(self._how.secrets.clean(text), 80)
        return ToolError(f"{self._how.what}: a message is not JSON: {said!r}")


def _decoded(message: str | bytes, what: str) -> str:
    if isinstance(message, str):
        return message
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ToolError(
            f"{what}: a message of {len(message):,} bytes is neither JSON nor text"
        ) from None


def _loads(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _NOT_JSON


def check_message(message: Any, what: str, *fields: str) -> None:
    """Refuse fields that a message cannot get, or has already.

    Raises:
        ConfigError: says which.
    """
    for field in filter(None, fields):
        if not isinstance(message, Mapping):
            raise ConfigError(f"{what}: a text cannot get the member {field!r}; write a mapping")
        if field in message:
            raise ConfigError(f"{what}: the tool itself sets the member {field!r}; leave it out")
