"""YAML or JSON text → values that know their line and column.

The safe part of YAML 1.2: mappings with text keys, sequences, text, numbers, true, false and null;
anchors, aliases and `<<` merges; no tags that build objects. JSON is a part of it. Everything is
bounded while it is read, so a hostile document costs no more than a large one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from aixgo.documents.interpolation import expand
from aixgo.documents.nodes import (
    Composer,
    MappingNode,
    Node,
    Refused,
    ScalarNode,
    SequenceNode,
)
from aixgo.errors import ConfigError, Finding, InvalidDocument

MAX_BYTES = 10 * 1024 * 1024
"""Largest document: hundreds of times a large system, and still read at once."""

MAX_DEPTH = 20
"""Deepest nesting; the document model needs 7 levels."""

MAX_NODES = 10_000
"""Most values in a document, each alias counted with all that it stands for."""

MAX_KEY_BYTES = 1024
"""Longest key."""

MAX_VALUE_BYTES = 1024 * 1024
"""Longest text of one value, before and after its variables are replaced."""

Loc = tuple[str | int, ...]
"""Path of a value: keys and indexes."""


class Mark(NamedTuple):
    """A place in a text, from 1."""

    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The values of a document and where each was written.

    Attributes:
        source: name of the file, for messages.
        data: dicts with text keys, lists, text, numbers, booleans and None.
        values: place of each value; of its key when it is a mapping or a sequence.
        keys: place of each key.
        expanded: text as written, for values that came from the environment. They stay text (the
            models read numbers from it) and are never shown in an error.
    """

    source: str
    data: Any
    values: Mapping[Loc, Mark]
    keys: Mapping[Loc, Mark] = field(default_factory=dict)
    expanded: Mapping[Loc, str] = field(default_factory=dict)

    def at(self, loc: Loc) -> Any:
        """Return the value at a place that the document has."""
        value = self.data
        for part in loc:
            value = value[part]
        return value


def read_document(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file; `MAX_BYTES` at most.

    Raises:
        ConfigError: it is missing, a directory, not readable or too large.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; check the path") from None
    except IsADirectoryError:
        raise ConfigError(f"{file}: is a directory; name the YAML or JSON file in it") from None
    except PermissionError:
        raise ConfigError(f"{file}: this user may not read it; check its permissions") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{file}: cannot be read: {reason or error}") from None
    return data


def parse(
    data: bytes, source: str = "document", environment: Mapping[str, str] | None = None
) -> Tree:
    """Return the values of a YAML or JSON text.

    Args:
        source: name of the text in messages.
        environment: of `${VAR}`; the process's own without it.

    Raises:
        ConfigError: it is empty, too large or no UTF-8.
        InvalidDocument: it is no YAML, breaks a limit, repeats a key or names an unset variable.
    """
    text = _decode(data, source)
    composer = Composer(text, max_depth=MAX_DEPTH, max_nodes=MAX_NODES)
    try:
        root = composer.compose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _refused(source, line, column, _problem(error)) from None
    except yaml.YAMLError as error:
        found = re.search(r"position (\d+)", str(error))
        before = text[: int(found[1])] if found else ""
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        reason = getattr(error, "reason", None) or "a character is not allowed"
        raise _refused(source, line, column, f"no YAML or JSON: {reason}") from None
    if root is None:
        raise ConfigError(f"{source}: is empty; it needs at least `version: 2` and `agents:`")
    reader = _Reader(source, os.environ if environment is None else environment)
    value = reader.value(root, (), 1)
    if reader.findings:
        raise InvalidDocument(source, reader.findings)
    return Tree(
        source=source,
        data=value,
        values=reader.values,
        keys=reader.keys,
        expanded=reader.expanded,
    )


def _decode(data: bytes, source: str) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{source}: is over {MAX_BYTES:,} bytes, the limit of a document; keep long texts in "
            "files of their own"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{source}:{line}: byte {error.start:,} is no UTF-8 ({error.reason}); save the file "
            "as UTF-8"
        ) from None
    if text.lstrip()[:1] in ("{", "["):
        text = _JSON_ONLY.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        text = _JSON_PAIR.sub(_astral, text)
    return text


_JSON_ONLY = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that stand in JSON texts as they are, and that YAML refuses or folds."""

_JSON_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB]..)\\u([dD][c-fC-F]..)")


def _astral(match: re.Match[str]) -> str:
    """Write a JSON pair of surrogates, which YAML refuses, as the one character that it is."""
    try:
        high, low = int(match[2], 16), int(match[3], 16)
    except ValueError:
        return match[0]
    return f"{match[1]}\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _problem(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, Refused):
        return str(error.problem)
    parts = [part for part in (error.context, error.problem) if part]
    return f"no YAML or JSON: {', '.join(parts) or 'cannot be read'}"


def _refused(source: str, line: int, column: int, message: str) -> InvalidDocument:
    return InvalidDocument(
        source, [Finding(path="", line=line, column=column, message=message[:500])]
    )


class _Reader:
    """Turns nodes into values; collects what is wrong with them."""

    def __init__(self, source: str, environment: Mapping[str, str]) -> None:
        self._source, self._environment = source, environment
        self._nodes = 0
        self.values: dict[Loc, Mark] = {}
        self.keys: dict[Loc, Mark] = {}
        self.expanded: dict[Loc, str] = {}
        self.findings: list[Finding] = []

    def value(self, node: Node, loc: Loc, depth: int) -> Any:
        """Return a node's value.

        Raises:
            InvalidDocument: aliases make the document deeper or larger than its limits.
        """
        self._nodes += 1
        self.values[loc] = Mark(node.line, node.column)
        if self._nodes > MAX_NODES:
            raise self._over(node, loc, f"has over {MAX_NODES:,} values, aliases counted in full")
        if depth > MAX_DEPTH:
            raise self._over(node, loc, f"nests deeper than {MAX_DEPTH} levels")
        if isinstance(node, MappingNode):
            return self._mapping(node, loc, depth)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*loc, i), depth + 1) for i, item in enumerate(node.items)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, loc)

    def _mapping(self, node: MappingNode, loc: Loc, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merges: list[Node] = []
        for key_node, value_node in node.pairs:
            if _is_merge(key_node):
                merges.append(value_node)
                continue
            key = self._key(key_node, loc)
            if key is None:
                continue
            here = (*loc, key)
            if key in found:
                first = self.keys[here]
                self._report(
                    key_node, loc, f"duplicate key {key!r}, first in line {first.line}; keep one"
                )
                continue
            self.keys[here] = Mark(key_node.line, key_node.column)
            found[key] = self.value(value_node, here, depth + 1)
            if not isinstance(value_node, ScalarNode):
                self.values[here] = self.keys[here]
        for merge in merges:
            self._merge(merge, found, loc, depth)
        return found

    def _merge(self, node: Node, found: dict[str, Any], loc: Loc, depth: int) -> None:
        """Add the keys of merged mappings that are not there; the first one that has a key wins.

        A mapping that is merged has the keys that it merges itself, after its own.

        Raises:
            InvalidDocument: merges inside of merges go beyond the document's limits.
        """
        for part in node.items if isinstance(node, SequenceNode) else (node,):
            self._nodes += 1  # found keys are not read again, so they would not count
            if self._nodes > MAX_NODES:
                raise self._over(
                    part, loc, f"has over {MAX_NODES:,} values, merges counted in full"
                )
            if depth > MAX_DEPTH:
                raise self._over(part, loc, f"nests deeper than {MAX_DEPTH} levels")
            if not isinstance(part, MappingNode):
                self._report(part, loc, "`<<` merges mappings only; give it an alias of one")
                continue
            merges: list[Node] = []
            for key_node, value_node in part.pairs:
                if _is_merge(key_node):
                    merges.append(value_node)
                    continue
                key = self._key(key_node, loc)
                if key is None or key in found:
                    continue
                here = (*loc, key)
                self.keys[here] = Mark(key_node.line, key_node.column)
                found[key] = self.value(value_node, here, depth + 1)
            for merge in merges:
                self._merge(merge, found, loc, depth + 1)

    def _key(self, node: Node, loc: Loc) -> str | None:
        if not isinstance(node, ScalarNode):
            self._report(node, loc, "a key must be text, not a mapping or a sequence")
            return None
        if len(node.text.encode()) > MAX_KEY_BYTES:
            self._report(
                node,
                loc,
                f"a key of {len(node.text.encode()):,} bytes is over the limit of "
                f"{MAX_KEY_BYTES:,} bytes; shorten it",
            )
            return None
        return node.text

    def _scalar(self, node: ScalarNode, loc: Loc) -> Any:
        if len(node.text) > MAX_VALUE_BYTES // 4 and len(node.text.encode()) > MAX_VALUE_BYTES:
            self._report(node, loc, _too_long(len(node.text.encode())))
            return None
        try:
            if "$" not in node.text or node.kind not in ("", "str"):
                return node.resolve()
            text = expand(node.text, self._environment)
        except ValueError as error:
            self._report(node, loc, str(error))
            return None
        if len(text.encode(errors="replace")) > MAX_VALUE_BYTES:
            self._report(node, loc, _too_long(len(text.encode(errors="replace"))))
            return None
        if any("\ud800" <= character <= "\udfff" for character in text):
            self._report(node, loc, "an environment variable holds bytes that are no UTF-8")
            return None
        if text != node.text:
            self.expanded[loc] = node.text
        return text

    def _report(self, node: Node, loc: Loc, message: str) -> None:
        self.findings.append(
            Finding(path=dotted(loc), line=node.line, column=node.column, message=message)
        )

    def _over(self, node: Node, loc: Loc, what: str) -> InvalidDocument:
        self._report(node, loc, f"the document {what}, its limit; make it smaller")
        return InvalidDocument(self._source, self.findings)


def _is_merge(key: Node) -> bool:
    return isinstance(key, ScalarNode) and key.plain and key.text == "<<"


def _too_long(size: int) -> str:
    return (
        f"a value of {size:,} bytes is over the limit of {MAX_VALUE_BYTES:,} bytes; keep it in a "
        "file of its own"
    )


def dotted(loc: Loc) -> str:
    """Return a path as people write it, such as `agents.1.retry`; long keys are cut."""
    return ".".join(str(part)[:60] for part in loc)
