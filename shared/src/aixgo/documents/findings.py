"""Collects what is wrong with a document, with the place of each, and says it all at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from aixgo.config.suggest import did_you_mean
from aixgo.config.wording import names_a_secret, sentence
from aixgo.documents.source import Loc, Mark, Tree, dotted
from aixgo.errors import Finding, InvalidDocument

SHORTEST_SECRET = 6
"""What a variable holds is taken out of every message when it has so many characters; a shorter one
only out of messages about its own place, where it could not be a word of the sentence."""

_USER = re.compile(r"(://)[^/@\s'\"]+@")


class Findings:
    """What is wrong with one document."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._found: list[Finding] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, loc: Sequence[str | int], message: str, *, at_key: bool = False) -> None:
        """Report something wrong with the value at `loc`, or with its key."""
        loc = tuple(loc)
        mark = self._mark(loc, at_key=at_key)
        self._found.append(
            Finding(
                path=dotted(loc),
                line=mark.line,
                column=mark.column,
                message=self._redacted(loc, message),
            )
        )

    def add_unknown_key(self, loc: Loc, known: Iterable[str]) -> None:
        """Report a key that is not allowed, with the nearest one that is."""
        self.add(
            loc,
            f"unknown key {str(loc[-1])[:60]!r}{did_you_mean(str(loc[-1]), known)}",
            at_key=True,
        )

    def add_validation(
        self, error: ValidationError, model: type[BaseModel], prefix: Loc = ()
    ) -> None:
        """Report what pydantic found in the value at `prefix`, in words of a document's author."""
        seen = set()
        for found in error.errors(include_url=False):
            loc, rest = self._known_part(prefix, found["loc"])
            if found["type"] == "extra_forbidden":
                where = (*loc, *rest[-1:])
                if where not in seen:
                    self.add_unknown_key(where, set(keys_at(model, found["loc"][:-1])))
                seen.add(where)
            elif found["type"] == "missing":
                self.add(loc, f"needs the key {str(rest[-1] if rest else loc[-1])!r}")
            else:
                self.add(loc, self._message(loc, found))

    def ordered(self) -> tuple[Finding, ...]:
        """Return what was found, in the order of the document."""
        return tuple(sorted(set(self._found), key=lambda found: (found.line, found.column)))

    def finish(self) -> None:
        """Raise what was found.

        Raises:
            InvalidDocument: something was.
        """
        if self._found:
            raise InvalidDocument(self._tree.source, self.ordered())

    # -- places --------------------------------------------------------------------------------

    def _mark(self, loc: Loc, *, at_key: bool) -> Mark:
        if at_key and loc in self._tree.keys:
            return self._tree.keys[loc]
        while loc not in self._tree.values and loc:
            loc = loc[:-1]
        return self._tree.values.get(loc, Mark(1, 1))

    def _known_part(self, prefix: Loc, loc: Loc) -> tuple[Loc, Loc]:
        """Split pydantic's path: what the document has, and the end that it has not.

        In the middle, names of union members and the like are left out.
        """
        known, rest = prefix, list[str | int]()
        for part in loc:
            if (*known, part) in self._tree.values:
                known, rest = (*known, part), []
            else:
                rest.append(part)
        return known, tuple(rest)

    # -- words ---------------------------------------------------------------------------------

    def _message(self, loc: Loc, found: Any) -> str:
        text = sentence(found)
        if loc in self._tree.expanded:
            return f"{text} (got {self._tree.expanded[loc]:.80})"
        if found["type"] == "value_error" or names_a_secret(loc) or not _scalar(found["input"]):
            return text
        return f"{text} (got {shown(found['input'])})"

    def _redacted(self, loc: Loc, text: str) -> str:
        """Return the text with what variables hold replaced by their names: it may be a secret."""
        for place, written in self._tree.expanded.items():
            value = self._tree.at(place)
            here = place[: len(loc)] == loc
            if value and (here or len(value) >= SHORTEST_SECRET):
                text = text.replace(repr(value), written).replace(value, written)
        return text


def shown(value: Any) -> str:
    """Return a value as a document has it, cut, without the user part of an address."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = _USER.sub(r"\1…@", text)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def keys_at(model: Any, loc: Sequence[str | int]) -> Iterator[str]:
    """Yield the keys that a mapping at `loc` inside a model may have."""
    for kind in _models(model):
        if not loc:
            yield from kind.model_fields
        elif (inner := kind.model_fields.get(str(loc[0]))) is not None:
            yield from keys_at(inner.annotation, loc[1:])
    if loc and not _is_model(model):
        for part in get_args(model):
            if part is Ellipsis or part is type(None):
                continue
            union = get_origin(model) in (Union, UnionType)
            yield from keys_at(part, loc if union else loc[1:])


def _models(kind: Any) -> list[type[BaseModel]]:
    if _is_model(kind):
        return [kind]
    if get_origin(kind) in (Union, UnionType):
        return [model for part in get_args(kind) for model in _models(part)]
    metadata = getattr(kind, "__metadata__", None)
    return _models(get_args(kind)[0]) if metadata is not None else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
