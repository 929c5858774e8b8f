"""Keys and secret headers are in no text that leaves a client, whatever the far side echoes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from json import dumps
from typing import TypeVar

from aixgo.errors import AixgoError

E = TypeVar("E", bound=AixgoError)

_SHORTEST = 6
"""What is shorter is not a key but a placeholder, and would be taken out of every other word."""

_PREFIX = 12
"""A text is cut somewhere: so much of a secret's beginning is taken for the secret."""

_KEY = re.compile(
    r"(?i:bearer\s+)[\w.~+/=-]{6,}|\b(?:sk|xai|hf|gsk|rk)[-_][\w-]{6,}|\bAIza[\w-]{8,}|\bya29\.[\w-]+"
)


class Secrets:
    """Takes given secrets, and whatever looks like a key, out of texts.

    Args:
        values: keys and values of headers; of `Bearer abc…` the second word is the secret too.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        known: set[str] = set()
        for value in values:
            for part in (value.strip(), *value.split()[1:]):
                if len(part) >= _SHORTEST:
                    known |= {part, dumps(part)[1:-1]}
        patterns = [re.escape(secret) for secret in sorted(known, key=len, reverse=True)]
        patterns += [
            re.escape(secret[:_PREFIX]) + r"[^\s\"']*"
            for secret in known
            if len(secret) > _PREFIX and " " not in secret
        ]
        self._known = re.compile("|".join(patterns)) if patterns else None

    def __repr__(self) -> str:
        return "Secrets(***)"

    def clean(self, text: str) -> str:
        """Return the text with `***` in place of every secret."""
        return _KEY.sub("***", self.without(text))

    def without(self, text: str) -> str:
        """Return the text without the given secrets."""
        return text if self._known is None else self._known.sub("***", text)

    def cleaned(self, error: E) -> E:
        """Return the error with nothing secret in its text, its notes and its cause."""
        text = str(error)
        if (clean := self.without(text)) != text:
            error.args = (clean, *error.args[1:])
        notes: list[str] = getattr(error, "__notes__", [])
        notes[:] = map(self.without, notes)
        cause = error.__cause__
        if cause is not None and self.without(f"{cause!r} {cause}") != f"{cause!r} {cause}":
            error.__cause__ = None
        return error


NOTHING = Secrets()
"""No secret is known; what looks like a key is taken out all the same."""
