"""Expectations of checks: they fail with a text for the author of what is checked.

Unlike `assert` they hold under `python -O` too, and need no test framework to be readable.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import Any, Generic, TypeVar

from aixgo.testing.waiting import PATIENCE_SECONDS

T = TypeVar("T")

SOON_SECONDS = PATIENCE_SECONDS / 3
"""What "at once" may take on a loaded machine: a third of `PATIENCE_SECONDS`, which a check gives
to whatever must not end the wait (a timeout, an `ack_wait`, a delay)."""

SILENCE = 0.15
"""Seconds that a check watches for what must not happen; a broker that does it does it at once."""


def expect(holds: bool, text: str) -> None:
    """Raise AssertionError with `text` unless it holds."""
    if not holds:
        raise AssertionError(text)


def equal(what: str, actual: object, wanted: object) -> None:
    """Raise AssertionError that shows both unless they are equal."""
    if actual != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {actual!r}")


@contextmanager
def refused(*errors: type[Exception], what: str) -> Generator[None, None, None]:
    """Expect the block to raise one of `errors`; any other outcome is an AssertionError."""
    names = " or ".join(error.__name__ for error in errors)
    try:
        yield
    except errors:
        return
    except Exception as error:
        raise AssertionError(f"{what}: expected {names}, got {error!r}") from error
    raise AssertionError(f"{what}: expected {names}, but nothing was raised")


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncGenerator[None, None]:
    """Bound the block; AssertionError when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None


class Collected(Generic[T]):
    """What arrived, in order; call it for every arrival and wait for a count of them."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.items: list[T] = []
        self._arrived = asyncio.Event()

    def __call__(self, item: T) -> None:
        """Keep one arrival."""
        self.items.append(item)
        self._arrived.set()

    async def take(self, item: T) -> None:
        """Keep one arrival; the shape that `Log.consume` wants. A delivery stays unanswered."""
        self(item)

    async def count(self, wanted: int, *, within: float = PATIENCE_SECONDS) -> list[T]:
        """Return all arrivals once there are `wanted` of them.

        Raises:
            AssertionError: there are fewer after `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                while len(self.items) < wanted:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(
                f"{self.what}: expected {wanted} within {within:g} s, got {len(self.items)}: "
                f"{self.items[:10]!r}"
            ) from None
        return self.items

    async def exactly(self, wanted: int, *, silence: float = SILENCE) -> list[T]:
        """Return all arrivals once there are `wanted` and none follows for `silence` seconds."""
        await self.count(wanted)
        await asyncio.sleep(silence)
        if len(self.items) != wanted:
            raise AssertionError(
                f"{self.what}: expected exactly {wanted}, got {len(self.items)}: "
                f"{self.items[:10]!r}"
            )
        return self.items


class Stopwatch:
    """Seconds of the event loop's time since it was made or restarted."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.restart()

    def restart(self) -> None:
        """Start at zero again."""
        self._started = self._loop.time()

    @property
    def seconds(self) -> float:
        """Elapsed time."""
        return self._loop.time() - self._started


def checks_of(*modules: ModuleType) -> list[Callable[..., Coroutine[Any, Any, None]]]:
    """Return the checks of modules: the public coroutine functions that each defines, in order."""
    return [
        function
        for module in modules
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    ]
