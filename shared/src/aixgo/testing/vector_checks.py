"""What every vector store promises: one plain async function a promise.

Each check gets a store and works in namespaces of its own. pytest is not needed:

    for check in vector_checks.ALL:
        await check(store)

A check returns when the promise is kept and raises AssertionError, with the expected and the seen,
when it is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf, isclose, nan

from aixgo.clock import now
from aixgo.envelope import new_id
from aixgo.errors import StoreError
from aixgo.stores.vectors.port import Every, Filter, Is, Item, No, Some, VectorStore
from aixgo.testing.expect import equal, expect

Check = Callable[[VectorStore], Awaitable[None]]


def item(name: str, *vector: float, expires: float = 0.0, **meta: str | int | bool) -> Item:
    """Return an item whose text is its id."""
    return Item(id=name, vector=vector or (1.0, 0.0), text=name, meta=meta, expires=expires)


async def the_nearest_are_found_first(store: VectorStore) -> None:
    """The score is the cosine, whatever the lengths; ties are in the order of ids."""
    space = new_id()
    await store.upsert(
        space, [item("far", -1, 0), item("b", 9, 0), item("a", 1, 0), item("mid", 3, 4)]
    )
    found = await store.search(space, (2, 0), top_k=9)
    equal("ids", [one.item.id for one in found], ["a", "b", "mid", "far"])
    for one, wanted in zip(found, (1.0, 1.0, 0.6, -1.0), strict=True):
        expect(isclose(one.score, wanted, abs_tol=1e-6), f"score {one.score}, not {wanted}")
    found = await store.search(space, (2, 0), top_k=3, min_score=0.7)
    equal("ids of 0.7 or more", [one.item.id for one in found], ["a", "b"])
    equal("found of 1", len(await store.search(space, (2, 0), top_k=1)), 1)


async def an_item_comes_back_as_it_was(store: VectorStore) -> None:
    """Also one that took the place of another; nothing is shared with the caller."""
    space = new_id()
    meta: dict[str, str | int | float | bool] = {"n": 1, "yes": True, "s": "é"}
    await store.upsert(space, [item("x", 0, 1, old=True)])
    await store.upsert(space, [Item(id="x", vector=(1.0, 0.5), text="né", meta=meta)])
    meta["n"] = 2
    (found,) = await store.get(space, ["gone", "x"])
    equal("text and meta", (found.text, found.meta), ("né", {"n": 1, "yes": True, "s": "é"}))
    equal("vector", found.vector, (1.0, 0.5))
    equal("count", await store.count(space), 1)


async def filters_choose(store: VectorStore) -> None:
    """Filters mean the same in a search, a count and a removal."""
    space = new_id()
    await store.upsert(space, [item("a", k=1), item("b", k=2, on=True), item("c", on=1)])
    cases: list[tuple[Filter, list[str]]] = [
        (Is("k", (1, 2)), ["a", "b"]),
        (Is("on", (True,)), ["b"]),
        (Is("on", (1,)), ["c"]),
        (Every((Is("k", (2,)), Is("on", (True,)))), ["b"]),
        (Some((Is("k", (1,)), Is("on", (1,)))), ["a", "c"]),
        (No(Is("k", (1,))), ["b", "c"]),
        (Every(), ["a", "b", "c"]),
        (Some(()), []),
    ]
    for where, wanted in cases:
        found = await store.search(space, (1, 0), top_k=9, where=where)
        equal(f"found by {where}", [one.item.id for one in found], wanted)
        equal(f"counted by {where}", await store.count(space, where), len(wanted))
    equal("removed", await store.delete(space, Is("k", (1,))), 1)
    equal("removed by id", await store.delete(space, ["b", "b", "gone"]), 1)
    equal("left", [one.id for one in await store.get(space, ["a", "b", "c"])], ["c"])


async def namespaces_do_not_meet(store: VectorStore) -> None:
    """One that has no item is empty; its first item says how long vectors are."""
    one, two = new_id(), new_id()
    equal("found in none", await store.search(one, (1, 0), top_k=1), [])
    await store.upsert(one, [item("x", 1, 0)])
    await store.upsert(two, [item("x", 1, 0, 0)])
    equal("removed of one", await store.delete(one, Every()), 1)
    equal("count of two", await store.count(two), 1)


async def a_vector_that_does_not_fit_is_refused(store: VectorStore) -> None:
    """And nothing of what came with it is stored."""
    space = new_id()
    await store.upsert(space, [item("x", 1, 0)])
    for wrong in ((1.0,), (1.0, 0.0, 0.0), (0.0, 0.0), (nan, 1.0), (inf, 1.0)):
        try:
            await store.upsert(space, [item("fits", 1, 0), item("wrong", *wrong)])
        except StoreError:
            equal(f"count after {wrong}", await store.count(space), 1)
        else:
            expect(False, f"{wrong} was stored")
        try:
            await store.search(space, wrong, top_k=1)
        except StoreError:
            continue
        expect(False, f"{wrong} was searched for")


async def what_has_expired_is_not_there(store: VectorStore) -> None:
    """It is not found, read, counted or removed."""
    space = new_id()
    await store.upsert(space, [item("old", expires=now() - 1), item("new", expires=now() + 3600)])
    found = await store.search(space, (1, 0), top_k=9)
    equal("found", [one.item.id for one in found], ["new"])
    equal("read", [one.id for one in await store.get(space, ["old", "new"])], ["new"])
    equal("counted", await store.count(space), 1)
    equal("removed", await store.delete(space, ["old", "new"]), 1)


ALL: tuple[Check, ...] = (
    the_nearest_are_found_first,
    an_item_comes_back_as_it_was,
    filters_choose,
    namespaces_do_not_meet,
    a_vector_that_does_not_fit_is_refused,
    what_has_expired_is_not_there,
)
