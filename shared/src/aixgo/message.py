"""What handlers receive and return: `Message` in, `Reply` (or a plain value) out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from aixgo.envelope import NO_USAGE, Envelope, Usage
from aixgo.errors import InvalidPayload

T = TypeVar("T")


class Message:
    """A call's input, an event, or a result, as a handler or a client sees it.

    Read-only. Everything is decoded when it is asked for, from the bytes that travelled.
    """

    __slots__ = ("_data", "envelope")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._data: Any = msgspec.UNSET

    @property
    def data(self) -> Any:
        """The payload as JSON values: text, numbers, lists, dicts or None."""
        if self._data is msgspec.UNSET:
            payload = self.envelope.payload
            if isinstance(payload, msgspec.Raw):
                self._data = msgspec.json.decode(payload)
            else:
                self._data = None
        return self._data

    @property
    def text(self) -> str:
        """The payload if it is text, else its JSON; empty for null."""
        value = self.data
        if isinstance(value, str):
            return value
        return "" if value is None else self.envelope.body.decode()

    def decode(self, kind: type[T]) -> T:
        """Return the payload as `kind`: anything msgspec or pydantic can validate.

        Raises:
            InvalidPayload: it does not fit; names the place in the payload.
        """
        from aixgo.payloads import Shape  # heavy with pydantic: only who decodes pays

        try:
            return Shape.of(kind).decode(self.envelope.body)  # type: ignore[no-any-return]
        except InvalidPayload as error:
            raise InvalidPayload(f"message from {self.source or 'a client'!r}: {error}") from error

    @property
    def meta(self) -> Mapping[str, Any]:
        """The metadata contract: `category`, `confidence`, `routed_to`, … as it was set."""
        return self.envelope.meta

    @property
    def usage(self) -> Usage:
        """Tokens, cost and model calls of a result and everything below it."""
        return self.envelope.usage or NO_USAGE

    @property
    def id(self) -> str:
        """Id of this message."""
        return self.envelope.id

    @property
    def source(self) -> str:
        """Agent or client that sent it."""
        return self.envelope.source

    @property
    def run_id(self) -> str:
        """Id of the run that it belongs to."""
        return self.envelope.run

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits: the one trace of the run."""
        return self.envelope.trace_id

    @property
    def kind(self) -> str:
        """`call`, `event`, `result`, `rpc` or `reply`."""
        return self.envelope.kind

    def __repr__(self) -> str:
        return (
            f"Message({self.text[:60]!r}, source={self.source!r}, run_id={self.run_id!r}, "
            f"meta={dict(self.meta)!r})"
        )


class Reply:
    """What a handler returns when a plain value is not enough: a payload with metadata.

    Args:
        data: text, JSON values, a pydantic model, a msgspec Struct or a dataclass.
        meta: the metadata contract; travels unchanged to the caller.
        publish: whether an answer to an event is published to the agents that have this one in
            their `inputs`; an answer that says nothing to them is not.
    """

    __slots__ = ("data", "meta", "publish")

    def __init__(
        self, data: Any = None, meta: Mapping[str, Any] | None = None, *, publish: bool = True
    ) -> None:
        self.data = data
        self.meta: dict[str, Any] = dict(meta or {})
        self.publish = publish

    def __repr__(self) -> str:
        return f"Reply({self.data!r}, meta={self.meta!r})"
