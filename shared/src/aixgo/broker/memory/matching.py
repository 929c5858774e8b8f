"""Subjects and filters: their rules, and trees that match one against many of the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

from aixgo.errors import BadSubject

T = TypeVar("T")

MAX_SUBJECT_BYTES = 1024
"""Far below the longest line that a nats-server reads."""

SURELY_SHORT = MAX_SUBJECT_BYTES // 4
"""Characters that fit into the limit whatever they are."""

_PLAIN_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""Two of them after a stem of `SURELY_SHORT` are within `MAX_SUBJECT_BYTES`, too."""

_BAD_CHARACTER = re.compile(r"[\s\x00-\x1f\x7f]")


def _surely_good(subject: str) -> bool:
    """Whether a subject breaks none of the rules, as nearly always; they give the exact error."""
    return (
        subject.isprintable()
        and 0 < len(subject) <= SURELY_SHORT
        and not (" " in subject or ".." in subject)
        and subject[0] != "."
        and subject[-1] != "."
    )


def check_filter(pattern: str) -> None:
    """Raise BadSubject unless one can subscribe to `pattern`: `*` is a token, `>` ends it."""
    if _surely_good(pattern) and ">" not in pattern:
        return
    tokens = pattern.split(".")
    if "" in tokens or _BAD_CHARACTER.search(pattern):
        raise BadSubject(
            f"subject {pattern!r} has an empty token or white space; "
            "write tokens joined by single dots"
        )
    if len(pattern.encode()) > MAX_SUBJECT_BYTES:
        raise BadSubject(
            f"subject {pattern[:40]!r}… is {len(pattern.encode()):,} bytes, over the limit of "
            f"{MAX_SUBJECT_BYTES:,} bytes; shorten its tokens"
        )
    if ">" in tokens[:-1]:
        raise BadSubject(
            f"subject {pattern!r} has '>' before its end; '>' stands for the rest, "
            "'*' for one token"
        )


def check_subject(subject: str) -> None:
    """Raise BadSubject unless one can publish to `subject`: a filter without wildcards."""
    if _surely_good(subject) and not ("*" in subject or ">" in subject):
        return
    check_filter(subject)
    if is_wild(subject):
        raise BadSubject(
            f"subject {subject!r} has a wildcard; publish to one subject, subscribe to many"
        )


def is_wild(pattern: str) -> bool:
    """Return whether a token of the pattern is a wildcard."""
    if "*" not in pattern and ">" not in pattern:
        return False
    tokens = pattern.split(".")
    return "*" in tokens or tokens[-1] == ">"


def matches(pattern: str, subject: str) -> bool:
    """Return whether the subject matches: `*` is exactly one token, `>` one or more at the end."""
    if pattern in (subject, ">"):
        return True
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
    elif len(wanted) != len(tokens):
        return False
    return all(want in ("*", token) for want, token in zip(wanted, tokens, strict=False))


def overlap(one: str, other: str) -> bool:
    """Return whether some subject matches both patterns."""
    left, right = one.split("."), other.split(".")
    for a, b in zip(left, right, strict=False):
        if a == ">" or b == ">":
            return True
        if a != b and a != "*" and b != "*":
            return False
    return len(left) == len(right)


class _Node(Generic[T]):
    __slots__ = ("below", "items", "star", "tail")

    def __init__(self) -> None:
        self.below: dict[str, _Node[T]] = {}
        self.star: _Node[T] | None = None
        self.items: list[T] = []
        self.tail: list[T] = []

    @property
    def empty(self) -> bool:
        return not (self.below or self.star or self.items or self.tail)


class PatternTree(Generic[T]):
    """Items under patterns; finds those whose pattern matches a subject, in one walk."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, pattern: str, item: T) -> None:
        """Put the item under the pattern."""
        node = self._root
        for token in pattern.split("."):
            if token == ">":
                node.tail.append(item)
                return
            if token == "*":
                node.star = node = node.star or _Node()
            else:
                node = node.below.setdefault(token, _Node())
        node.items.append(item)

    def remove(self, pattern: str, item: T) -> None:
        """Take the item from under the pattern, where it must be."""
        self._remove(self._root, pattern.split("."), item)

    def _remove(self, node: _Node[T], tokens: list[str], item: T) -> None:
        token = tokens[0] if tokens else ""
        if token == ">":
            node.tail.remove(item)
        elif not token:
            node.items.remove(item)
        elif token == "*":
            assert node.star is not None
            self._remove(node.star, tokens[1:], item)
            if node.star.empty:
                node.star = None
        else:
            self._remove(node.below[token], tokens[1:], item)
            if node.below[token].empty:
                del node.below[token]

    def match(self, tokens: list[str]) -> tuple[list[T], int]:
        """Return the items whose pattern matches the subject with these tokens.

        An item under two such patterns comes twice. The number says how many tokens decided: any
        subject of as many tokens that begins with those returns the same.
        """
        found: list[T] = []
        nodes = [self._root]
        count = len(tokens)
        for depth, token in enumerate(tokens, 1):
            lower: list[_Node[T]] = []
            for node in nodes:
                if node.tail:
                    found += node.tail
                for next_node in (node.below.get(token), node.star):
                    if next_node is None:
                        continue
                    if next_node.below or next_node.star:
                        lower.append(next_node)
                    else:  # nothing below, so the other tokens do not matter, only their number
                        found += next_node.items if depth == count else next_node.tail
            if not lower:
                return found, depth
            nodes = lower
        for node in nodes:
            found += node.items
        return found, count


class Memo(Generic[T]):
    """Remembers what was found for subjects.

    Most subjects occur once (`call.<agent>.<run>.<step>`), but what they lead to is mostly decided
    before their last two tokens; then all that share the rest, the stem, share the answer.
    """

    LIMIT = 8192
    """Answers that are remembered, and tokens; the memo is emptied when it is full."""

    __slots__ = ("_plain", "_stems", "exact")

    def __init__(self) -> None:
        self.exact: dict[str, T] = {}
        self._stems: dict[str, T] = {}
        self._plain: set[str] = set()

    def find(self, subject: str) -> T | None:
        """Return what is known of a subject, or None; what something is known of is well formed."""
        found = self.exact.get(subject)
        return self.find_by_stem(subject) if found is None else found

    def find_by_stem(self, subject: str) -> T | None:
        """Return what `find` does, of a subject that is not in `exact`."""
        parts = subject.rsplit(".", 2)
        if len(parts) == 3:
            found = self._stems.get(parts[0])
            if found is not None:
                plain = self._plain
                if (parts[1] in plain or self._learn(parts[1])) and (
                    parts[2] in plain or self._learn(parts[2])
                ):
                    return found
        return None

    def find_good(self, subject: str) -> T | None:
        """Return what is known of a subject that is surely well formed."""
        found = self.exact.get(subject)
        if found is None:
            parts = subject.rsplit(".", 2)
            if len(parts) == 3:
                return self._stems.get(parts[0])
        return found

    def _learn(self, token: str) -> bool:
        """Whether a token breaks no rule wherever it stands; the others are for the exact check."""
        if _PLAIN_TOKEN.fullmatch(token) is None:
            return False
        if len(self._plain) >= self.LIMIT:
            self._plain.clear()
        self._plain.add(token)
        return True

    def keep(self, subject: str, found: T, decided: int, count: int) -> None:
        """Remember what was found, of whose `count` tokens the first `decided` mattered."""
        if len(self.exact) + len(self._stems) >= self.LIMIT:
            self.clear()
        if 0 < decided <= count - 2:
            stem = subject.rsplit(".", 2)[0]
            if stem.isascii() and len(stem) <= SURELY_SHORT:
                self._stems[stem] = found
        else:
            self.exact[subject] = found

    def clear(self) -> None:
        """Forget everything, because patterns have changed."""
        self.exact.clear()
        self._stems.clear()


class SubjectTree:
    """Literal subjects; finds those that match a pattern without looking at the others."""

    def __init__(self) -> None:
        self._root: dict[str, object] = {}
        self.size = 0

    def add(self, subject: str) -> None:
        """Put a subject in; adding it again changes nothing."""
        node: dict[str, object] = self._root
        for token in subject.split("."):
            lower = node.get(token)
            if not isinstance(lower, dict):
                lower = node[token] = {}
            node = lower
        if "" not in node:  # no token is empty, so it can mark where a subject ends
            node[""] = subject
            self.size += 1

    def match(self, pattern: str) -> Iterator[str]:
        """Yield the subjects that match the pattern."""
        nodes: list[dict[str, object]] = [self._root]
        tokens = pattern.split(".")
        tail = tokens[-1] == ">"
        for token in tokens[:-1] if tail else tokens:
            lower: list[object] = []
            for node in nodes:
                if token == "*":
                    lower += [child for key, child in node.items() if key]
                elif token in node:
                    lower.append(node[token])
            nodes = [node for node in lower if isinstance(node, dict)]
        for node in nodes:
            if tail:
                yield from _leaves(node, below=True)
            elif isinstance(end := node.get(""), str):
                yield end


def _leaves(node: dict[str, object], *, below: bool) -> Iterator[str]:
    for key, child in node.items():
        if isinstance(child, dict):
            yield from _leaves(child, below=False)
        elif key == "" and not below and isinstance(child, str):
            yield child
