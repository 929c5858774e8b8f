"""An event loop on which several simulated processes live, and can die without a last word.

A process that is killed runs no `except` and no `finally`. So every coroutine is driven through a
`Mortal`, which stops to drive it when its process is dead. Who drives also says which process runs
at this moment, and new tasks belong to it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from aixgo.testing.virtual_time import VirtualTimeLoop

MOST_TURNS = 5_000_000
"""Turns of all tasks in one seed; more is a task that spins, which stops virtual time for ever."""


class Life:
    """Whether a simulated process lives; the outside world (the scenario) always does."""

    __slots__ = ("dead", "name")

    def __init__(self, name: str) -> None:
        self.name, self.dead = name, False


class SimulationLoop(VirtualTimeLoop):
    """Virtual time, tasks that belong to processes, and nothing that differs between two runs.

    Attributes:
        current: whose code runs now.
        over: the simulation has ended; the dead may be cancelled now.
        turns: that tasks had.
        on_spinning: called once when that is `MOST_TURNS`.
    """

    def __init__(self) -> None:
        super().__init__()
        # the resolution of the machine's clock decides which timers fire together
        self._clock_resolution = 1e-9
        self.outside = self.current = Life("outside")
        self.over = False
        self.turns, self.spins = 0, False
        self.on_spinning: Callable[[], object] = lambda: None
        self._numbers = itertools.count(1)
        self.set_task_factory(self._make_task)

    @contextmanager
    def as_process(self, life: Life) -> Generator[None, None, None]:
        """Let what happens in the block belong to a process."""
        before, self.current = self.current, life
        try:
            yield
        finally:
            self.current = before

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return _NumberedTask(
            Mortal(coro, self.current, self), next(self._numbers), loop=loop, **options
        )

    def count_turn(self) -> None:
        """Count a turn of a task."""
        self.turns += 1
        if self.turns == MOST_TURNS:
            self.spins = True
            self.on_spinning()


class _NumberedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address in memory."""

    def __init__(self, coro: Any, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class Mortal(Coroutine[Any, Any, Any]):
    """Drives a coroutine as long as its process lives; then it waits for ever, uncancellable."""

    __slots__ = ("__weakref__", "_coro", "_life", "_loop")

    def __init__(self, coro: Coroutine[Any, Any, Any], life: Life, loop: SimulationLoop) -> None:
        self._coro, self._life, self._loop = coro, life, loop

    def send(self, value: Any) -> Any:
        """Go on, unless dead."""
        loop = self._loop
        if self._life.dead and not loop.over:
            return self._grave()
        loop.count_turn()
        before, loop.current = loop.current, self._life
        try:
            return self._coro.send(value)
        finally:
            loop.current = before

    def throw(
        self,
        kind: Any,
        error: BaseException | object | None = None,
        trace: TracebackType | None = None,
    ) -> Any:
        """Raise inside the coroutine, unless dead."""
        loop = self._loop
        if self._life.dead and not loop.over:
            return self._grave()
        before, loop.current = loop.current, self._life
        try:
            thrown: Any = kind if error is None else error
            return self._coro.throw(thrown)
        finally:
            loop.current = before

    def close(self) -> None:
        """End the coroutine."""
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._coro.__await__())

    def _grave(self) -> Any:
        return next(iter(self._loop.create_future().__await__()))

    def __getattr__(self, name: str) -> Any:
        """Show frame, code and name of the coroutine to tracebacks and representations."""
        return getattr(self._coro, name)
