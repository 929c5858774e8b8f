"""Near words for typing errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?`, or the known words when none is near; empty for no words."""
    words = sorted(known)
    if near := difflib.get_close_matches(word[:100], words, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(words)}" if words else ""
