"""How OpenAPI writes the values of parameters and bodies into a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from aixgo.errors import ConfigError, InvalidPayload
from aixgo.tools.net.templates import escaped, text_of

_STYLES = {
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
}
_BETWEEN = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C"}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of an operation.

    Attributes:
        argument: name of the argument that has its value.
        name, place: its own name, and `path`, `query` or `header`.
        as_json: its value is written as JSON.
    """

    argument: str
    name: str
    place: str
    style: str = ""
    explode: bool = False
    as_json: bool = False

    def check(self, what: str) -> None:
        """Refuse a style that is not supported.

        Raises:
            ConfigError: names it.
        """
        if not self.as_json and self.style not in _STYLES[self.place]:
            raise ConfigError(
                f"{what}: parameter {self.name!r} has the style {self.style!r}; in the "
                f"{self.place} {' and '.join(_STYLES[self.place])} are supported"
            )

    def text(self, value: Any) -> str:
        """Return the value as one text, for a path or a header."""
        if self.as_json:
            return msgspec.json.encode(value).decode()
        if isinstance(value, Mapping):
            between = "=" if self.explode else ","
            return ",".join(f"{name}{between}{text_of(one)}" for name, one in value.items())
        return ",".join(map(text_of, value)) if isinstance(value, list) else text_of(value)

    def header(self, value: Any, what: str) -> str:
        """Return the value for a header.

        Raises:
            InvalidPayload: it has characters that a header cannot have.
        """
        text = self.text(value)
        if not (text.isprintable() and text.isascii()):
            raise InvalidPayload(
                f"{what}: {self.argument}: {text!r:.80} goes into the header {self.name!r}, so it "
                "can have printable ASCII characters only, and no line breaks"
            )
        return text.strip()

    def pairs(self, value: Any) -> Iterator[str]:
        """Yield the encoded pairs of a query."""
        name = escaped(self.name)
        if self.as_json:
            yield f"{name}={escaped(self.text(value))}"
        elif isinstance(value, Mapping) and self.style == "deepObject":
            for key, one in value.items():
                yield f"{name}%5B{escaped(str(key))}%5D={escaped(text_of(one))}"
        elif isinstance(value, Mapping) and self.explode:
            yield from form_pairs(value)
        elif isinstance(value, Mapping):
            pieces = [escaped(text_of(piece)) for pair in value.items() for piece in pair]
            yield f"{name}={','.join(pieces)}"
        elif isinstance(value, list) and not self.explode:
            between = _BETWEEN.get(self.style, ",")
            yield f"{name}={between.join(escaped(text_of(one)) for one in value)}"
        elif isinstance(value, list):
            for one in value:
                yield f"{name}={escaped(text_of(one))}"
        else:
            yield f"{name}={escaped(text_of(value))}"


def form_pairs(value: Mapping[str, Any]) -> Iterator[str]:
    """Yield the encoded pairs of a form; a list is repeated."""
    for key, one in value.items():
        for item in one if isinstance(one, list) else [one]:
            if item is not None:
                yield f"{escaped(str(key))}={escaped(text_of(item))}"
