"""Waiting for what another task or process brings about, with a bound instead of a guess."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_SECONDS = 0.01
"""Between two looks; virtual time makes it free."""

PATIENCE_SECONDS = 60.0
"""How long a test waits for what must come. It bounds a hang and measures nothing: it is some
hundred times what is waited for takes, so a machine that other work slows down fails no test."""


@overload
async def eventually(
    look: Callable[[], Awaitable[T | None]],
    *,
    within: float = ...,
    what: str = ...,
) -> T: ...
@overload
async def eventually(
    look: Callable[[], T | None],
    *,
    within: float = ...,
    what: str = ...,
) -> T: ...
@overload
async def eventually(
    look: Callable[[], Awaitable[T]],
    holds: Callable[[T], object],
    *,
    within: float = ...,
    what: str = ...,
) -> T: ...
@overload
async def eventually(
    look: Callable[[], T],
    holds: Callable[[T], object],
    *,
    within: float = ...,
    what: str = ...,
) -> T: ...
async def eventually(
    look: Callable[[], Any],
    holds: Callable[[Any], object] = bool,
    *,
    within: float = PATIENCE_SECONDS,
    what: str = "what was waited for",
) -> Any:
    """Return what `look` (sync or async) finds, once it holds.

        await eventually(lambda: seen == ["a", "b"])
        await eventually(lambda: system.questions(), what="a question")
        await eventually(orders.count, lambda count: count >= 3, what="three orders")

    Args:
        look: called again and again, every `POLL_SECONDS` of the event loop's time.
        holds: of what was found; without it, anything that is true.
        within: seconds.
        what: names it in the error.

    Raises:
        AssertionError: it does not hold within `within` seconds; shows what was found last.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if holds(found):
            return found
        if loop.time() >= end:
            raise AssertionError(f"{what}: not within {within:g} s, last seen {found!r}")
        await asyncio.sleep(POLL_SECONDS)
