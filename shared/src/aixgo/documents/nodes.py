"""YAML events → nodes, bounded while they are read; no recursion, so no depth hurts.

PyYAML's own composer recurses in C for each level and follows aliases without a bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
_LARGEST = 2**63
"""Whole numbers beyond it are lost in other programs that read JSON."""


class Refused(yaml.MarkedYAMLError):
    """YAML that is in order and still not taken: a limit, a tag, a second document."""


@dataclass(slots=True)
class Node:
    """A value as written; `line` and `column` from 1."""

    line: int
    column: int


@dataclass(slots=True)
class ScalarNode(Node):
    """One text.

    Attributes:
        plain: written without quotes.
        kind: of an explicit tag (`str`, `int`, `float`, `bool`, `null`); empty without one.
    """

    text: str = ""
    plain: bool = True
    kind: str = ""

    def resolve(self) -> Any:
        """Return the value by the core schema of YAML 1.2: `no`, `010` and dates stay as they are.

        Raises:
            ValueError: it does not fit its tag, or is a whole number of more than 64 bits.
        """
        if self.kind == "str" or (not self.plain and not self.kind):
            return self.text
        value = _core(self.text)
        if self.kind and not _fits(value, self.kind):
            raise ValueError(f"{self.text!r:.60} is no {self.kind}, as its tag !!{self.kind} says")
        return value


@dataclass(slots=True)
class SequenceNode(Node):
    """Values in order."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode(Node):
    """Pairs of key and value, as written."""

    pairs: list[tuple[Node, Node]] = field(default_factory=list)


def _core(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0o", "0x") else _decimal_integer(text)
        if not -_LARGEST <= number < 2 * _LARGEST:
            raise ValueError(f"the whole number {text:.40} needs more than 64 bits; quote it")
        return number
    if _DECIMAL.fullmatch(text):
        return float(text)
    return text


def _decimal_integer(text: str) -> int:
    return _LARGEST * 2 if len(text) > 100 else int(text)


def _fits(value: Any, kind: str) -> bool:
    match kind:
        case "null":
            return value is None
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, float | int) and not isinstance(value, bool)


class Composer:
    """Reads one document."""

    def __init__(self, text: str, *, max_depth: int, max_nodes: int) -> None:
        self._text, self._max_depth, self._max_nodes = text, max_depth, max_nodes
        self._count = 0
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[Node, list[Node]]] = []
        self._root: Node | None = None

    def compose(self) -> Node | None:
        """Return the document's root; None for an empty text.

        Raises:
            yaml.YAMLError: no YAML, or over a limit; carries the place.
        """
        documents = 0
        for event in self._events():
            match event:
                case yaml.DocumentStartEvent():
                    documents += 1
                    if documents > 1:
                        raise _refused(event, "a second document begins here; keep one per file")
                case yaml.ScalarEvent():
                    self._add(_scalar(event), event)
                case yaml.AliasEvent():
                    self._add(self._aliased(event), event)
                case yaml.SequenceStartEvent():
                    self._begin(SequenceNode(*_place(event)), event, "seq")
                case yaml.MappingStartEvent():
                    self._begin(MappingNode(*_place(event)), event, "map")
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    self._end()
        return self._root

    def _events(self) -> Iterator[yaml.Event]:
        return yaml.parse(self._text, Loader=_LOADER)

    def _begin(self, node: Node, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise _refused(event, f"the tag {event.tag!r:.60} is not allowed; leave it out")
        self._add(node, event)
        if len(self._open) >= self._max_depth:
            raise _refused(
                event, f"the document nests deeper than {self._max_depth} levels, its limit"
            )
        self._open.append((node, []))

    def _end(self) -> None:
        node, children = self._open.pop()
        if isinstance(node, SequenceNode):
            node.items = children
        elif isinstance(node, MappingNode):
            node.pairs = list(zip(children[::2], children[1::2], strict=True))

    def _add(self, node: Node, event: Any) -> None:
        self._count += 1
        if self._count > self._max_nodes:
            raise _refused(event, f"the document has over {self._max_nodes:,} values, its limit")
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node
        if self._open:
            self._open[-1][1].append(node)
        else:
            self._root = node

    def _aliased(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise _refused(event, f"the alias *{event.anchor:.60} has no anchor before it")
        if any(node is opened for opened, _ in self._open):
            raise _refused(event, f"the alias *{event.anchor:.60} stands inside of what it names")
        return node


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _scalar(event: Any) -> ScalarNode:
    kind = ""
    if event.tag not in (None, "!"):
        kind = event.tag.removeprefix(_TAG)
        if event.tag == kind or kind not in ("str", "int", "float", "bool", "null"):
            raise _refused(event, f"the tag {event.tag!r:.60} is not allowed; leave it out")
    plain = not event.style and event.tag != "!"
    return ScalarNode(*_place(event), text=event.value, plain=plain, kind=kind)


def _refused(event: Any, problem: str) -> Refused:
    return Refused(problem=problem, problem_mark=event.start_mark)
