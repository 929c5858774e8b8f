"""The vector port: items with a vector, in namespaces that do not see each other.

What an adapter promises is `aixgo.testing.vector_checks`, one function a promise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

Value = str | int | float | bool
"""Of a field of an item's metadata: what every store can filter by."""


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is stored.

    Attributes:
        id: unique in its namespace; an item with the same id takes its place.
        vector: finite numbers, not all 0; as many as those of the namespace's other items.
        expires: Unix seconds from which on it is not there; 0 for never.
    """

    id: str
    vector: tuple[float, ...]
    text: str = ""
    meta: Mapping[str, Value] = {}
    expires: float = 0.0


class Scored(msgspec.Struct, frozen=True, kw_only=True):
    """An item that a search found; `score` is the cosine of the two vectors, from -1 to 1."""

    item: Item
    score: float


class Is(msgspec.Struct, frozen=True, tag=True):
    """Items whose metadata has `field` with one of the values; `true` and 1 are different."""

    field: str
    values: tuple[Value, ...]


class Every(msgspec.Struct, frozen=True, tag=True):
    """Items that pass all of the filters: any item, when there are none."""

    of: tuple[Filter, ...] = ()


class Some(msgspec.Struct, frozen=True, tag=True):
    """Items that pass at least one of the filters: no item, when there are none."""

    of: tuple[Filter, ...]


class No(msgspec.Struct, frozen=True, tag=True):
    """Items that do not pass the filter."""

    of: Filter


Filter = Is | Every | Some | No

EVERYTHING = Every()


class VectorStore(Protocol):
    """Keeps items; promises what `aixgo.testing.vector_checks` checks.

    A namespace begins with its first item, which says how long the vectors of all others are. One
    that has no item is empty, never an error. What has expired is not found, read or counted.
    """

    async def upsert(self, namespace: str, items: Sequence[Item]) -> None:
        """Store all of the items, or none; one with the id of another takes its place.

        Raises:
            StoreError: a vector has another length than those of the namespace, is all 0 or has a
                number that is not finite; or the store is full.
        """
        ...

    async def search(
        self,
        namespace: str,
        vector: Sequence[float],
        *,
        top_k: int,
        where: Filter = EVERYTHING,
        min_score: float = -1.0,
    ) -> list[Scored]:
        """Return at most `top_k` items with a score of `min_score` or more, the nearest first.

        Items of equal score are in the order of their ids.

        Raises:
            StoreError: the vector does not fit the namespace, or `top_k` is below 1.
        """
        ...

    async def get(self, namespace: str, ids: Sequence[str]) -> list[Item]:
        """Return the items with these ids, in their order, without those that are not there."""
        ...

    async def delete(self, namespace: str, where: Filter | Sequence[str]) -> int:
        """Remove items by filter or by ids; how many there were."""
        ...

    async def count(self, namespace: str, where: Filter = EVERYTHING) -> int:
        """Return how many items pass the filter."""
        ...
