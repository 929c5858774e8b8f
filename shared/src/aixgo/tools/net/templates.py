"""Texts with `{parameter}` in them; a value never becomes more than its own place.

`{{` and `}}` are the characters themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError, InvalidPayload
from aixgo.tools.port import Arguments

_PART = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")
_STATIC = "!$&'()*+,;=:@%-._~"
"""Characters of a path that the document writes as they are; `%` begins an escape of its own."""

ABSENT = object()
"""In place of a value: its argument was not given, so its member is left out."""


@dataclass(frozen=True)
class Place:
    """Where the value of a parameter goes."""

    name: str


@dataclass(frozen=True)
class Template:
    """A text with places in it.

    Attributes:
        parts: in their order.
    """

    parts: tuple[str | Place, ...]

    @classmethod
    def parse(cls, text: str, what: str) -> Template:
        """Read a template.

        Args:
            what: it is, in errors.

        Raises:
            ConfigError: a brace is neither part of a place nor doubled.
        """
        parts: list[str | Place] = []
        end = 0
        for match in _PART.finditer(text):
            parts.append(text[end : match.start()])
            end = match.end()
            if match[1]:
                parts.append(Place(match[1]))
            elif match[0] in ("{{", "}}"):
                parts.append(match[0][0])
            else:
                raise ConfigError(
                    f"{what}: the '{match[0]}' at character {match.start() + 1} is not part of a "
                    "place such as {city}; write '{{' or '}}' for the character itself"
                )
        parts.append(text[end:])
        return cls(tuple(part for part in parts if part != ""))

    @property
    def names(self) -> Iterator[str]:
        """The parameters in it."""
        return (part.name for part in self.parts if isinstance(part, Place))

    @property
    def only(self) -> str:
        """The parameter, if the template is one place and nothing else; or empty."""
        match self.parts:
            case (Place(name),):
                return name
            case _:
                return ""

    def fill(self, arguments: Arguments, encode: Callable[[str], str] = str) -> str | None:
        """Return the text with values in it, or None if one of them was not given.

        Args:
            encode: of each value; the rest stays as it is.
        """
        pieces = []
        for part in self.parts:
            if isinstance(part, str):
                pieces.append(part)
                continue
            value = arguments.get(part.name)
            if value is None:
                return None
            pieces.append(encode(text_of(value)))
        return "".join(pieces)


def text_of(value: Any) -> str:
    """Return a value as text: a string is itself, everything else its JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def escaped(text: str) -> str:
    """Return a value as it stands in one segment of a path, or in one value of a query."""
    return quote(text, safe="")


class JsonTemplate:
    """A JSON value with places in its strings.

    A string that is one place becomes the value itself, of any type. A member or an item whose
    argument is not given is left out.

    Raises:
        ConfigError: see `Template.parse`; or a member's name has a place in it.
    """

    def __init__(self, value: Any, what: str) -> None:
        self._build: Callable[[Arguments], Any]
        self.names: tuple[str, ...] = ()
        match value:
            case str():
                self._text(Template.parse(value, what))
            case Mapping():
                self._object(value, what)
            case list() | tuple():
                items = [JsonTemplate(item, f"{what}[{i}]") for i, item in enumerate(value)]
                self.names = tuple(name for item in items for name in item.names)
                self._build = lambda given: [
                    found for item in items if (found := item.fill(given)) is not ABSENT
                ]
            case _:
                self._build = lambda _: value

    def _text(self, template: Template) -> None:
        self.names = tuple(template.names)
        if only := template.only:
            self._build = lambda given: given.get(only, ABSENT)
        else:
            self._build = lambda given: ABSENT if (text := template.fill(given)) is None else text

    def _object(self, value: Mapping[Any, Any], what: str) -> None:
        members = {}
        for name, member in value.items():
            if any(Template.parse(str(name), f"{what}: the name {name!r}").names):
                raise ConfigError(
                    f"{what}: the name {name!r} has a place in it; values go into values only"
                )
            members[str(name)] = JsonTemplate(member, f"{what}.{name}")
        self.names = tuple(name for member in members.values() for name in member.names)
        self._build = lambda given: {
            name: found
            for name, member in members.items()
            if (found := member.fill(given)) is not ABSENT
        }

    def fill(self, arguments: Arguments) -> Any:
        """Return the value with the arguments in it, or `ABSENT`."""
        return self._build(arguments)


class PathTemplate:
    """The path of a URL; each value stays inside of its segment.

    Raises:
        ConfigError: a segment is `.` or `..`.
    """

    def __init__(self, segments: Sequence[Template], what: str) -> None:
        self._what = what
        self._segments = segments
        self.names = tuple(name for segment in self._segments for name in segment.names)
        for segment in self._segments:
            if segment.parts in ((".",), ("..",)):
                raise ConfigError(f"{what}: the path goes up with '..'; write where it leads to")

    @classmethod
    def parse(cls, path: str, what: str) -> PathTemplate:
        """Read a path; see `Template.parse` for the errors."""
        segments = path.removeprefix("/").split("/")
        return cls([Template.parse(segment, what) for segment in segments], what)

    def fill(self, arguments: Arguments) -> str:
        """Return the path, encoded.

        Raises:
            InvalidPayload: a value would change the path: it is empty, or `..`.
        """
        return "/" + "/".join(self._segment(one, arguments) for one in self._segments)

    def _segment(self, segment: Template, arguments: Arguments) -> str:
        pieces = []
        for part in segment.parts:
            if isinstance(part, str):
                pieces.append(quote(part, safe=_STATIC))
                continue
            value = arguments.get(part.name)
            text = "" if value is None else text_of(value)
            if not text or ".." in re.split(r"[/\\]", text):
                raise InvalidPayload(
                    f"{self._what}: {part.name}: {text!r:.80} cannot be part of a path; give a "
                    "value that is not empty and does not go up with '..'"
                )
            pieces.append(escaped(text))
        whole = "".join(pieces)
        if whole in (".", ".."):
            raise InvalidPayload(
                f"{self._what}: {' and '.join(segment.names)}: {whole!r} cannot be a part of a path"
            )
        return whole


class QueryTemplate:
    """Names and values of a query or a form.

    A value that is one place is repeated for each item of a list. What has an argument that was
    not given is left out. A name without a template stands alone, without `=`.
    """

    def __init__(self, members: Iterable[tuple[str, Template | None]]) -> None:
        self._members = tuple(members)
        self.names = tuple(
            name for _, template in self._members if template for name in template.names
        )

    def fill(self, arguments: Arguments) -> str:
        """Return the query, encoded, without `?`."""
        pairs = []
        for name, template in self._members:
            if template is None:
                pairs.append(escaped(name))
                continue
            given = arguments.get(template.only) if template.only else None
            if isinstance(given, list | tuple):
                pairs += [f"{escaped(name)}={escaped(text_of(item))}" for item in given]
            elif (text := template.fill(arguments)) is not None:
                pairs.append(f"{escaped(name)}={escaped(text)}")
        return "&".join(pairs)


class HeaderTemplate:
    """The value of a header; only `{…}` around a parameter is a place.

    Args:
        secret: it may have any characters, also those of a place.

    Raises:
        ConfigError: it has a place that is not a parameter; the value is not shown.
    """

    def __init__(
        self, name: str, value: str, parameters: Iterable[str], what: str, *, secret: bool
    ) -> None:
        self._name, self._what = name, what
        known = set(parameters)
        pieces = re.split(r"(\{[A-Za-z_][A-Za-z0-9_]*\})", value)
        parts: list[str | Place] = []
        for piece in pieces:
            place = piece[1:-1] if piece[:1] == "{" and piece[-1:] == "}" else ""
            if place and place not in known and not secret:
                raise ConfigError(
                    f"{what}: header {name!r} has a place in braces that is not a parameter"
                    f"{did_you_mean('', known)}"
                )
            parts.append(Place(place) if place in known else piece)
        self._template = Template(tuple(part for part in parts if part != ""))
        self.names = tuple(self._template.names)
        self.constant = "" if self.names else value

    def fill(self, arguments: Arguments) -> str | None:
        """Return the value, or None if an argument of it was not given.

        Raises:
            InvalidPayload: an argument has characters that a header cannot have.
        """
        for name in self.names:
            value = arguments.get(name)
            text = "" if value is None else text_of(value)
            if not (text.isprintable() and text.isascii()):
                raise InvalidPayload(
                    f"{self._what}: {name}: {text!r:.80} goes into the header {self._name!r}, so "
                    "it can have printable ASCII characters only, and no line breaks"
                )
        return self._template.fill(arguments)
