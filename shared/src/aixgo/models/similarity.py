"""How near embeddings are to each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors, -1 to 1; 0 for one without a length."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / lengths if lengths else 0.0
