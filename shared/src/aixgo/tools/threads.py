"""Threads for synchronous tools.

They are not the event loop's own pool: a few tools that hang would fill it, and host names could no
longer be resolved. They are not a `ThreadPoolExecutor` either: Python waits for its threads at
exit, and a process that was told to stop must not wait for a tool that hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from aixgo.errors import ToolNotDone

T = TypeVar("T")
P = ParamSpec("P")

MAX_THREADS = 256
"""Synchronous tools of a process at once, with those that were given up and still run."""


class DaemonThreads(Executor):
    """A new daemon thread for each call, at most `limit` at once."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._limit = limit
        self._free = threading.Semaphore(limit)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start the call.

        Raises:
            ToolNotDone: the limit is reached.
        """
        if not self._free.acquire(blocking=False):
            raise ToolNotDone(
                f"{self._limit} synchronous tools already run or hang in this process, which is "
                "the limit; write those that wait as async functions, or with their own time-outs"
            )
        future: Future[T] = Future()
        try:
            threading.Thread(
                target=self._run, args=(future, fn, args, kwargs), name="aixgo-tool", daemon=True
            ).start()
        except BaseException:
            self._free.release()
            raise
        return future

    def _run(
        self,
        future: Future[Any],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        try:
            if not future.set_running_or_notify_cancel():
                return
            value = fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - handed to the waiting caller
            future.set_exception(error)
        else:
            future.set_result(value)
        finally:
            self._free.release()


threads = DaemonThreads()
"""Of this process."""
