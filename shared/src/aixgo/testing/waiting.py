"""Waiting for what another task or process brings about, with a bound instead of a guess."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

POLL_SECONDS = 0.01
"""Between two looks; virtual time makes it free."""


async def eventually(
    condition: Callable[[], Any] | Callable[[], Awaitable[Any]], within: float = 8.0
) -> Any:
    """Return what `condition` (sync or async) gives once it is true.

    Raises:
        AssertionError: it is not within `within` seconds; shows what it gave last.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if loop.time() >= end:
            raise AssertionError(f"not true within {within:g} s; it gave {found!r} last")
        await asyncio.sleep(POLL_SECONDS)
