"""What the code says of a class, in one line of documentation."""

from __future__ import annotations

import inspect


def summary(kind: type) -> str:
    """Return the first paragraph of a class's docstring, in one line."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
