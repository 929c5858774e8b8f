"""Inputs that say the same: found by their texts or by their embeddings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from aixgo.models.similarity import cosine

FUZZY_RATIO = 0.9
"""Share of matching characters from which on two texts are nearly equal."""

FUZZY_CHARS = 2_000
"""Of a text that are compared with others: the comparison grows with the square of the length."""

_WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """Return a text without what makes no difference: spaces, capitals, a point at the end."""
    return " ".join(text.casefold().split()).rstrip(".")


def grouped(count: int, same: Callable[[int, int], bool]) -> list[list[int]]:
    """Return the places 0 to `count` in groups; each is compared with the first of every group."""
    groups: list[list[int]] = []
    for place in range(count):
        for group in groups:
            if same(group[0], place):
                group.append(place)
                break
        else:
            groups.append([place])
    return groups


def exactly(texts: Sequence[str]) -> list[list[int]]:
    """Return groups of equal texts."""
    known = [plain(text) for text in texts]
    return grouped(len(texts), lambda one, other: known[one] == known[other])


def nearly(texts: Sequence[str]) -> list[list[int]]:
    """Return groups of texts with nearly the same words, in any order of the sentence's ends."""
    words = [" ".join(_WORD.findall(plain(text)))[:FUZZY_CHARS] for text in texts]

    def same(one: int, other: int) -> bool:
        matcher = SequenceMatcher(None, words[one], words[other], autojunk=False)
        quick = matcher.real_quick_ratio() >= FUZZY_RATIO and matcher.quick_ratio() >= FUZZY_RATIO
        return quick and matcher.ratio() >= FUZZY_RATIO

    return grouped(len(texts), same)


def by_meaning(vectors: Sequence[Sequence[float]], threshold: float) -> list[list[int]]:
    """Return groups of texts whose embeddings point the same way."""
    return grouped(
        len(vectors), lambda one, other: cosine(vectors[one], vectors[other]) >= threshold
    )
