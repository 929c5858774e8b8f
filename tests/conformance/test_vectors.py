"""Every vector store keeps the promises of its port."""

from __future__ import annotations

import asyncio

import pytest

from aixgo.errors import StoreError
from aixgo.stores.vectors.memory import AT_ONCE, MemoryVectors
from aixgo.testing import vector_checks
from aixgo.testing.vector_checks import Check, item


@pytest.mark.parametrize("check", vector_checks.ALL, ids=lambda check: check.__name__)
async def test_in_memory(check: Check) -> None:
    await check(MemoryVectors())


async def test_the_store_in_memory_is_bounded() -> None:
    store = MemoryVectors(max_items=2)
    await store.upsert("a", [item("x"), item("y", expires=1.0)])
    await store.upsert("b", [item("z")])  # what has expired makes room
    await store.upsert("b", [item("z", 0, 1)])
    with pytest.raises(StoreError, match="3 items are more than the 2"):
        await store.upsert("c", [item("w")])
    assert await store.count("c") == 0


async def test_a_wrong_dimension_says_both_and_the_fix() -> None:
    store = MemoryVectors()
    await store.upsert("a", [item("x", 1, 0)])
    with pytest.raises(StoreError, match="has 3 numbers, and those of 'a' have 2; embed with the"):
        await store.upsert("a", [item("y", 1, 0, 0)])


async def test_a_long_search_lets_other_tasks_have_their_turns() -> None:
    store, turns = MemoryVectors(), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    await store.upsert("a", [item(str(number)) for number in range(3 * AT_ONCE)])
    task = asyncio.create_task(other())
    await store.search("a", (1, 0), top_k=1)
    task.cancel()
    assert turns == 2


async def test_one_id_is_not_taken_for_the_letters_that_it_is_made_of() -> None:
    store = MemoryVectors()
    await store.upsert("a", [item("x"), item("y")])
    with pytest.raises(StoreError, match=r"write \['xy'\]"):
        await store.delete("a", "xy")
    assert await store.count("a") == 2
