"""An event loop whose time jumps instead of passing, so that waiting an hour takes no time.

    @in_virtual_time
    async def test_an_hour_passes() -> None:
        await asyncio.sleep(3600)

    result = run_virtual(main())                                   # the same for any coroutine
    anyio_backend = ("asyncio", {"loop_factory": VirtualTimeLoop}) # for tests with anyio's plugin

When every task waits, the clock jumps to the next timer. `loop.time()` begins at 0, `wall_time()`
at 2030-01-01 in UTC; `aixgo.clock.now()` follows it, and so does everything of the memory broker.

It is for code without real I/O. Sockets are polled and wake their tasks, but a timer that is due
first wins without waiting for them: a timeout on a socket fires at once. While a call in a thread
(`asyncio.to_thread`) runs, time passes as it really does, because its end cannot be foreseen.
A task that spins (`while True: await asyncio.sleep(0)`) keeps the time from moving.
"""

from __future__ import annotations

import asyncio
import functools
import os
import selectors
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

from aixgo import clock

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = 1_893_456_000.0
"""Unix time at which every virtual loop begins: 2030-01-01T00:00:00Z."""

THREAD_SECONDS = 5.0
"""Real time that a loop without timers waits to be woken by a thread before it gives up."""


class Stalled(RuntimeError):
    """Nothing more can happen: every task waits, and there is no timer, socket or thread."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to its next timer when there is nothing else to do."""

    def __init__(self) -> None:
        self._virtual = 0.0
        self._in_threads = 0
        self._jumps = _JumpingSelector(self)
        super().__init__(self._jumps)
        self._jumps.own = len(self._jumps.get_map())  # the pipe by which threads wake the loop
        clock.ask_loops()

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._virtual

    def wall_time(self) -> float:
        """Return virtual Unix seconds."""
        return EPOCH + self._virtual

    def run_in_executor(  # type: ignore[override]  # typeshed's overload has no executor of None
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run the function in a thread; until it ends, time passes as it really does."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        future.add_done_callback(self._left_thread)
        return future

    def _left_thread(self, future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait until the executor's threads have ended; meanwhile time passes as it really does.

        From Python 3.13 on asyncio bounds this wait with a timer of the loop, which virtual time
        would let fire at once.
        """
        self._in_threads += 1
        try:
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()
        finally:
            self._in_threads -= 1

    def forward(self, seconds: float) -> None:
        """Move the clock; called by the selector in place of waiting."""
        self._virtual += seconds

    @property
    def waits_for_threads(self) -> bool:
        """Whether a call in a thread, or the end of all threads, is waited for."""
        return self._in_threads > 0


class _JumpingSelector(selectors.DefaultSelector):
    """Polls its sockets and moves the loop's clock in place of waiting for them."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self.own = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; with nothing ready, jump over `timeout` seconds."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        if self._loop.waits_for_threads:
            return self._wait_really(timeout)
        if timeout is not None:
            self._loop.forward(max(timeout, 0.0))
            return events
        return self._wait_for_the_world()

    def _wait_really(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        began = time.monotonic()
        events = super().select(timeout)
        self._loop.forward(time.monotonic() - began)
        return events

    def _wait_for_the_world(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait without a timer: for a socket if there is one, for a thread only a limited time."""
        if len(self.get_map()) > self.own:
            return super().select(None)
        others = threading.active_count() > 1
        events = super().select(THREAD_SECONDS) if others else []
        if not events:
            waiting = sorted(_place(task) for task in asyncio.all_tasks(self._loop))
            raise Stalled(
                "every task waits and no timer is set, so virtual time cannot go on; something "
                f"waits for what never comes. Tasks: {'; '.join(waiting) or 'none'}"
            )
        return events


def _place(task: asyncio.Task[Any]) -> str:
    """Return the task's name and where it waits."""
    frames = task.get_stack(limit=1)
    if not frames:
        return task.get_name()
    code = frames[0].f_code
    file = os.path.basename(code.co_filename)
    return f"{task.get_name()} in {code.co_qualname} ({file}:{frames[0].f_lineno})"


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time and return its result; the counterpart of `asyncio.run`.

    Raises:
        Stalled: it waits for something that can never happen.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def in_virtual_time(main: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async function an ordinary one that runs in virtual time, in a loop of its own.

    A decorator for tests that needs no plugin; arguments, such as pytest's fixtures, are passed on.
    Async fixtures are not for it: they would live in another loop.
    """

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_virtual(main(*args, **kwargs))

    return run
