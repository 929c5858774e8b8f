"""The text of an OpenAPI document → values; bounded while it is read, whatever it holds.

JSON, and YAML 1.2 with its core types: texts, numbers, true, false, null, lists and mappings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

from aixgo.errors import ConfigError

MAX_DOCUMENT_BYTES = 10 * 1024 * 1024
"""Largest document: the ones of GitHub and Stripe have 5 to 8 MB."""

MAX_DEPTH = 100
"""Deepest nesting."""

MAX_VALUES = 500_000
"""Most values, each alias counted with all that it stands for."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def read(data: bytes, what: str) -> dict[str, Any]:
    """Return the values of a document.

    Args:
        what: it is, in errors.

    Raises:
        ConfigError: it is too large or too deep, not JSON or YAML, or not a mapping.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ConfigError(
            f"{what} has {len(data):,} bytes, over the limit of {MAX_DOCUMENT_BYTES:,}; keep the "
            "operations that are used"
        )
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        value = _yaml(data, what)
    if not isinstance(value, dict):
        raise ConfigError(f"{what} is not an OpenAPI document: it is not a mapping with `openapi:`")
    return value


@dataclass
class _Open:
    """A list or a mapping that has not ended.

    Attributes:
        keys: what is read next in a mapping is a key.
        size, depth: of what is inside, aliases counted as what they stand for.
    """

    value: list[Any] | dict[str, Any]
    anchor: str | None
    keys: bool = False
    key: str = ""
    size: int = 1
    depth: int = 1

    def add(self, value: Any, size: int, depth: int) -> None:
        self.size += size
        self.depth = max(self.depth, depth + 1)
        if isinstance(self.value, list):
            self.value.append(value)
        elif self.keys:
            self.key, self.keys = str(value), False
        else:
            self.value[self.key], self.keys = value, True


@dataclass
class _Builder:
    """Builds values from the events of a parser, without recursion."""

    what: str
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int, int]] = field(default_factory=dict)
    result: Any = None
    values: int = 0

    def take(self, event: Any) -> None:
        match event:
            case yaml.MappingStartEvent():
                self._push(_Open({}, event.anchor, keys=True))
            case yaml.SequenceStartEvent():
                self._push(_Open([], event.anchor))
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self.stack.pop()
                self._put(done.value, done.size, done.depth, done.anchor, more=1)
            case yaml.ScalarEvent():
                self._put(self._scalar(event), 1, 1, event.anchor, more=1)
            case yaml.AliasEvent():
                if event.anchor not in self.anchors:
                    raise self._refused(event, f"*{event.anchor} stands for what is around it")
                value, size, depth = self.anchors[event.anchor]
                self._put(value, size, depth, None, more=size)

    def _push(self, one: _Open) -> None:
        if len(self.stack) >= MAX_DEPTH:
            raise ConfigError(f"{self.what} nests deeper than {MAX_DEPTH} levels")
        self.stack.append(one)

    def _put(self, value: Any, size: int, depth: int, anchor: str | None, *, more: int) -> None:
        if anchor:
            self.anchors[anchor] = value, size, depth
        if len(self.stack) + depth > MAX_DEPTH + 1:
            raise ConfigError(f"{self.what} nests deeper than {MAX_DEPTH} levels")
        self.values += more
        if self.values > MAX_VALUES:
            raise ConfigError(f"{self.what} has more than {MAX_VALUES:,} values")
        if self.stack:
            self.stack[-1].add(value, size, depth)
        else:
            self.result = value

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        is_key = bool(self.stack) and self.stack[-1].keys
        if not event.implicit[0] or is_key:
            return text
        if text in _PLAIN:
            return _PLAIN[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _refused(self, event: Any, text: str) -> ConfigError:
        mark = event.start_mark
        return ConfigError(f"{self.what}, line {mark.line + 1}: {text}; write it out")


def _yaml(data: bytes, what: str) -> Any:
    builder = _Builder(what)
    try:
        for event in yaml.parse(data.decode("utf-8-sig"), Loader=_LOADER):
            builder.take(event)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(f"{what} is neither JSON nor YAML: {said}") from error
    return builder.result
