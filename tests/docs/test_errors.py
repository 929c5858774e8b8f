"""The tree that `aixgo.errors` draws is the tree of its classes."""

from __future__ import annotations

import re
from typing import NamedTuple

from aixgo import errors
from aixgo.errors import AixgoError


class Drawn(NamedTuple):
    """One line of the drawing."""

    parent: str
    retryable: bool


def drawn() -> dict[str, Drawn]:
    """Return every class of the drawing, in its order."""
    assert errors.__doc__
    path: list[str] = []
    found: dict[str, Drawn] = {}
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r" {4}((?:│   |    |├── |└── )*)(\w+)( +\(retry\))?(?: +.+)?", line)
        if match and (match[1] or not found):
            depth = len(match[1]) // 4
            parent = path[depth - 1] if depth else "Exception"
            path[depth:] = [match[2]]
            assert match[2] not in found, match[2]
            found[match[2]] = Drawn(parent, match[3] is not None)
    return found


def classes() -> dict[str, Drawn]:
    """Return what the drawing should hold."""
    return {
        name: Drawn(cls.__mro__[1].__name__, bool(cls.retryable))
        for name in errors.__all__
        if isinstance(cls := getattr(errors, name), type) and issubclass(cls, AixgoError)
    }


def test_the_drawn_tree_is_the_tree_of_the_classes() -> None:
    assert drawn() == classes()


def test_every_class_of_the_package_is_public() -> None:
    own = {
        cls.__name__
        for cls in errors.by_code().values()
        if cls.__module__.startswith(errors.__name__)
    }
    assert own <= set(errors.__all__)


def test_every_code_belongs_to_one_class() -> None:
    codes = [getattr(errors, name).code for name in classes()]
    assert len(codes) == len(set(codes))
