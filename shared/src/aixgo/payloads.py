"""Types at the edge of a handler: validate what comes in, write what goes out, keep the schema.

Text, JSON values, msgspec Structs, dataclasses and TypedDicts go through msgspec; pydantic models
(alone or inside another type) through pydantic, which is imported only then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, NotRequired, Union, get_args, get_origin

import msgspec
from typing_extensions import TypedDict

from aixgo.clock import LONGEST_SECONDS
from aixgo.errors import ConfigError, InvalidPayload


def _has_pydantic(kind: Any) -> bool:
    if hasattr(kind, "__pydantic_validator__") or hasattr(kind, "__get_pydantic_core_schema__"):
        return True
    return any(_has_pydantic(part) for part in get_args(kind))


class Shape:
    """How values of one annotation are read from JSON, and the JSON schema they satisfy."""

    __slots__ = ("_decode", "kind", "schema")

    def __init__(self, kind: Any, decode: Callable[[bytes], Any], schema: dict[str, Any]) -> None:
        self.kind, self._decode, self.schema = kind, decode, schema

    @staticmethod
    def of(kind: Any) -> Shape:
        """Return the shape of an annotation; the same one again is not built again.

        Raises:
            ConfigError: neither msgspec nor pydantic can validate it.
        """
        return _shape_of(kind)

    def decode(self, body: bytes) -> Any:
        """Return the value in a JSON text.

        Raises:
            InvalidPayload: it does not fit; names the place.
        """
        try:
            return self._decode(body)
        except (msgspec.DecodeError, ValueError) as error:
            shown = body[:80].decode(errors="replace")
            raise InvalidPayload(
                f"expected {name_of(self.kind)}: {_first_line(error)} (got {shown})"
            ) from error

    def accepts(self, value: Any) -> bool:
        """Whether a value that is to be sent would be read back by this shape."""
        try:
            self._decode(bytes(to_payload(value)))
        except (InvalidPayload, msgspec.DecodeError, ValueError):
            return False
        return True


def name_of(kind: Any) -> str:
    """Return the name of an annotation, for people: `Invoice | Refund`, `list[Line]`."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return name_of(parts[0])
    if origin in (Union, UnionType):
        return " | ".join(map(name_of, parts))
    if origin is Literal:
        return " | ".join(map(repr, parts))
    name: str = getattr(kind, "__name__", str(kind))
    return f"{name}[{', '.join(map(name_of, parts))}]" if parts else name


def _first_line(error: Exception) -> str:
    errors = getattr(error, "errors", None)
    if callable(errors):  # pydantic: say where in one line
        parts = errors(include_url=False)
        return "; ".join(
            f"{'.'.join(map(str, part['loc'])) or 'value'}: {part['msg']}" for part in parts[:3]
        )
    return str(error)


@lru_cache(maxsize=1024)
def _shape_of(kind: Any) -> Shape:
    if kind is Any:
        return Shape(kind, msgspec.json.decode, {})
    if _has_pydantic(kind):
        return _pydantic_shape(kind)
    try:
        decoder = msgspec.json.Decoder(kind)
        schema = msgspec.json.schema(kind)
    except TypeError as error:
        reason = " ".join(str(error).split())  # msgspec writes several lines
        raise ConfigError(
            f"cannot validate messages of type {kind!r}: {reason}; use text, JSON values, a "
            "pydantic model, a msgspec Struct or a dataclass"
        ) from error
    return Shape(kind, decoder.decode, schema)


def _pydantic_shape(kind: Any) -> Shape:
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return Shape(kind, adapter.validate_json, adapter.json_schema())


def members_shape(members: Mapping[str, Any], optional: Collection[str] = ()) -> Shape:
    """Return the shape of a JSON object with these members, which decodes to a dict of them.

    Args:
        members: annotation by name; members of other names are ignored.
        optional: those that may be missing.

    Raises:
        ConfigError: neither msgspec nor pydantic can validate one of them.
    """
    fields = {
        name: NotRequired[kind] if name in optional else kind for name, kind in members.items()
    }
    kind = TypedDict("Arguments", fields)  # type: ignore[misc] # made at run time
    if any(_has_pydantic(member) for member in members.values()):
        return _pydantic_shape(kind)
    return _shape_of(kind)


def to_payload(value: Any) -> msgspec.Raw:
    """Return what a handler returned as a payload.

    Raises:
        InvalidPayload: it cannot be written as JSON.
    """
    if type(value) is str:
        try:
            return msgspec.Raw(_plain.encode(value))
        except ValueError as error:
            raise InvalidPayload(f"the text cannot be sent as UTF-8: {error}") from error
    try:
        dump = getattr(type(value), "__pydantic_serializer__", None)
        body: bytes = _plain.encode(value) if dump is None else dump.to_json(value)
        if b"null" in body:  # which is how a float that JSON does not have is written
            _check_finite(value)
        return msgspec.Raw(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPayload(
            f"a {type(value).__name__} cannot be sent as JSON: {error}; send text, JSON values, "
            "a pydantic model, a msgspec Struct or a dataclass"
        ) from error


def _check_finite(value: Any) -> None:
    """Refuse a float that JSON does not have, wherever it is in a value.

    Raises:
        ValueError: names the float.
    """
    stack = [msgspec.to_builtins(value, enc_hook=_builtins)]
    while stack:
        part = stack.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"JSON has no {part!r}")
        if isinstance(part, dict):
            stack.extend(part.values())
        elif isinstance(part, list | tuple | set | frozenset):
            stack.extend(part)


def _builtins(value: Any) -> Any:
    dump = getattr(type(value), "__pydantic_serializer__", None)
    if dump is not None:
        return dump.to_python(value)
    if isinstance(value, msgspec.Raw):
        return None
    raise TypeError(f"objects of type {type(value).__name__} are not JSON")


def to_seconds(value: Any, what: str, *, zero: bool = False) -> float:
    """Return a duration that a caller passed.

    Args:
        what: names it in the error.
        zero: whether it may be 0.

    Raises:
        ConfigError: it is not a number of seconds above 0, up to `clock.LONGEST_SECONDS`.
    """
    if type(value) is float and 0.0 < value <= LONGEST_SECONDS:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{what} {value!r} is not a number; give seconds, such as 2.5")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not math.isfinite(seconds):
        raise ConfigError(f"{what} {value!r:.40} s is not finite; {_LIMIT}")
    if seconds < 0 or (seconds == 0 and not zero):
        least = "0 s or more" if zero else "above 0 s"
        raise ConfigError(f"{what} {value!r} s is not {least}; {_LIMIT}")
    if seconds > LONGEST_SECONDS:
        raise ConfigError(f"{what} {value!r:.40} s is too long; {_LIMIT}")
    return seconds


_LIMIT = f"give at most {LONGEST_SECONDS:,.0f} s (3650 days), such as 2.5"


META_BYTES = 256 * 1024
"""Of the metadata of one message, as JSON: with the largest payload that travels with it, it stays
below the 512 kB that the CALLS stream takes."""


def to_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata that can travel.

    Raises:
        InvalidPayload: it is over `META_BYTES`, or cannot be written as JSON.
    """
    try:
        body = msgspec.json.encode(meta)
        if b"null" in body:
            _check_finite(meta)
        size = len(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPayload(
            f"the metadata cannot be sent as JSON: {error}; use text, numbers, lists and dicts"
        ) from error
    if size > META_BYTES:
        raise InvalidPayload(
            f"the metadata is {size:,} bytes of JSON, over the limit of {META_BYTES:,} bytes; "
            "metadata is for labels: put large values into the data, which may be of any size"
        )
    return dict(meta)


def _hook(value: Any) -> Any:
    dump = getattr(type(value), "__pydantic_serializer__", None)
    if dump is not None:
        return msgspec.Raw(dump.to_json(value))
    raise TypeError(f"objects of type {type(value).__name__} are not JSON")


_plain = msgspec.json.Encoder(enc_hook=_hook)
