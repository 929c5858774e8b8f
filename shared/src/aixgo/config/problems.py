"""What is wrong with one declaration: said in Python in one error, in a document with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from aixgo.config.suggest import did_you_mean
from aixgo.config.wording import names_a_secret, sentence
from aixgo.errors import ConfigError

Loc = tuple[str | int, ...]
"""Path of a value inside of a declaration: keys and indexes."""


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong with a declaration.

    Attributes:
        loc: the path of the value; empty for the declaration as a whole.
        text: what is wrong, and the fix.
        cause: the error that it comes from, if it has a class of its own.
        named: an agent that is named at a place that only the role or the tool knows.
    """

    loc: Loc
    text: str
    cause: ConfigError | None = None
    named: str = ""

    def below(self, loc: Loc) -> Wrong:
        """Return the same of a declaration that is part of another one."""
        return replace(self, loc=(*loc, *self.loc))

    def texts(self) -> list[str]:
        """Return what is wrong, one sentence each."""
        return [self.text]


@dataclass(frozen=True)
class UnknownKey:
    """A key that neither every agent nor the role has."""

    key: str
    known: frozenset[str]

    def below(self, loc: Loc) -> Wrong:
        """Return the same of a declaration that is part of another one."""
        return Wrong(loc, self.texts()[0])

    def texts(self) -> list[str]:
        """Return what is wrong, with the nearest key that there is."""
        return [f"unknown option {self.key!r}{did_you_mean(self.key, self.known)}"]


@dataclass(frozen=True)
class Invalid:
    """Values that a model refuses.

    Attributes:
        loc: path of what was given to the model; empty for the declaration as a whole.
    """

    error: ValidationError
    model: type[BaseModel]
    loc: Loc = ()

    def below(self, loc: Loc) -> Invalid:
        """Return the same of a declaration that is part of another one."""
        return replace(self, loc=(*loc, *self.loc))

    def texts(self) -> list[str]:
        """Return pydantic's findings, without echoing secrets."""
        return [self._described(found) for found in self.error.errors(include_url=False)]

    def _described(self, found: Mapping[str, Any]) -> str:
        loc = (*self.loc, *found["loc"])
        where = ".".join(map(str, loc)) or "value"
        if found["type"] == "extra_forbidden":
            known = self.model.model_fields if len(found["loc"]) == 1 else ()
            return f"{where}: unknown option {loc[-1]!r}{did_you_mean(str(loc[-1]), known)}"
        if found["type"] == "missing" and self.loc:
            outer = ".".join(map(str, loc[:-1]))
            return f"{outer + ': ' if outer else ''}needs the option {loc[-1]!r}"
        hidden = names_a_secret(loc) or (self.loc and isinstance(found["input"], Mapping))
        hidden = hidden or found["type"] == "missing"
        value = "" if hidden else f" (got {found['input']!r:.60})"
        return f"{where}: {sentence(found)}{value}"


Problem = Wrong | UnknownKey | Invalid
