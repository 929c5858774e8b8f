"""Waiting for the first of several things."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first_of(
    work: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, Any], seconds: float | None = None
) -> T | None:
    """Run all until one ends, and cancel the rest; returns what `work` returned if it did.

    Args:
        seconds: after which all are cancelled.

    Raises:
        Exception: what one of them raised first.
    """
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(one) for one in (work, *others)]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        return tasks[0].result() if tasks[0] in done else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
