"""Vectors in the memory of this process: they end with it, and no other process sees them."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Sequence
from operator import mul

import msgspec

from aixgo.clock import now
from aixgo.errors import StoreError

from .port import EVERYTHING, Every, Filter, Is, Item, No, Scored, Some

MAX_ITEMS = 10_000
"""Of a store: with 384 numbers each about 100 MB; a search of all of them takes 0.4 s or so."""

AT_ONCE = 256
"""Items that a search looks at, about 10 ms, before other tasks of the process have their turn."""

_ENCODER, _DECODER = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(Item)


class MemoryVectors:
    """A vector store for one process, tests and development.

    Args:
        max_items: of all namespaces together.
    """

    def __init__(self, *, max_items: int = MAX_ITEMS) -> None:
        self._max_items = max_items
        self._spaces: dict[str, dict[str, _Held]] = {}

    async def upsert(self, namespace: str, items: Sequence[Item]) -> None:
        """Store all of the items, or none."""
        space = self._alive(namespace)
        size = next((len(one.unit) for one in space.values()), 0)
        added: dict[str, _Held] = {}
        for item in items:
            size = size or len(item.vector)
            added[item.id] = _Held(item, _unit(item.vector, size, f"item {item.id!r}", namespace))
        for name in list(self._spaces):
            self._alive(name)
        total = sum(map(len, self._spaces.values())) + len(added.keys() - space.keys())
        if total > self._max_items:
            raise StoreError(
                f"{total:,} items are more than the {self._max_items:,} that this store in memory "
                "may hold; delete some, let them expire, or raise max_items"
            )
        if added:
            self._spaces[namespace] = space | added

    async def search(
        self,
        namespace: str,
        vector: Sequence[float],
        *,
        top_k: int,
        where: Filter = EVERYTHING,
        min_score: float = -1.0,
    ) -> list[Scored]:
        """Return the nearest items; every item of the namespace is looked at."""
        if top_k < 1:
            raise StoreError(f"top_k is {top_k}; ask for 1 item or more")
        space = self._alive(namespace)
        size = next((len(one.unit) for one in space.values()), len(vector))
        unit = _unit(vector, size, "the query", namespace)
        chosen = [(name, one) for name, one in space.items() if passes(where, one.item)]
        scores: list[tuple[float, str, _Held]] = []
        for start in range(0, len(chosen), AT_ONCE):
            if start:
                await asyncio.sleep(0)
            scores += (
                (max(-1.0, min(1.0, sum(map(mul, unit, one.unit)))), name, one)
                for name, one in chosen[start : start + AT_ONCE]
            )
        near = sorted(
            (one for one in scores if one[0] >= min_score), key=lambda one: (-one[0], one[1])
        )
        return [Scored(item=one.read(), score=score) for score, _, one in near[:top_k]]

    async def get(self, namespace: str, ids: Sequence[str]) -> list[Item]:
        """Return the items with these ids."""
        space = self._alive(namespace)
        return [space[name].read() for name in ids if name in space]

    async def delete(self, namespace: str, where: Filter | Sequence[str]) -> int:
        """Remove items by filter or by ids."""
        space = self._alive(namespace)
        if isinstance(where, Is | Every | Some | No):
            gone = [name for name, one in space.items() if passes(where, one.item)]
        elif isinstance(where, str):
            raise StoreError(f"`delete` takes a filter or a list of ids; write [{where!r}]")
        else:
            gone = [name for name in dict.fromkeys(where) if name in space]
        for name in gone:
            del space[name]
        if not space:
            self._spaces.pop(namespace, None)
        return len(gone)

    async def count(self, namespace: str, where: Filter = EVERYTHING) -> int:
        """Return how many items pass the filter."""
        return sum(passes(where, one.item) for one in self._alive(namespace).values())

    def _alive(self, namespace: str) -> dict[str, _Held]:
        """Remove what has expired from a namespace and return the rest."""
        space, moment = self._spaces.get(namespace, {}), now()
        for name in [name for name, one in space.items() if 0.0 < one.item.expires <= moment]:
            del space[name]
        if not space:
            self._spaces.pop(namespace, None)
        return space


class _Held:
    """An item as bytes, so that callers share no object with the store."""

    __slots__ = ("_data", "item", "unit")

    def __init__(self, item: Item, unit: array[float]) -> None:
        self._data = _ENCODER.encode(item)
        self.item = msgspec.structs.replace(self.read(), vector=())
        self.unit = unit

    def read(self) -> Item:
        return _DECODER.decode(self._data)


def passes(where: Filter, item: Item) -> bool:
    """Whether an item passes a filter."""
    match where:
        case Is(field, values):
            found = item.meta.get(field)
            return any(
                found == one and isinstance(found, bool) == isinstance(one, bool) for one in values
            )
        case Every(filters):
            return all(passes(one, item) for one in filters)
        case Some(filters):
            return any(passes(one, item) for one in filters)
        case No(other):
            return not passes(other, item)


def _unit(vector: Sequence[float], size: int, what: str, namespace: str) -> array[float]:
    """Return a vector with the length 1, after a look at whether it fits."""
    if len(vector) != size:
        raise StoreError(
            f"the vector of {what} has {len(vector):,} numbers, and those of {namespace!r} have "
            f"{size:,}; embed with the same model, or use another namespace"
        )
    length = math.hypot(*vector)
    if not 0.0 < length < math.inf:
        raise StoreError(
            f"the vector of {what} is empty, all 0, or has numbers that are not finite; it has no "
            "direction to compare"
        )
    return array("d", (one / length for one in vector))
