"""Threads for synchronous tools.

They are not the event loop's own pool: a few tools that hang would fill it, and host names could no
longer be resolved. They are not a `ThreadPoolExecutor` either: Python waits for its threads at
exit, and a process that was told to stop must not wait for a tool that hangs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

from aixgo.errors import ToolNotDone

T = TypeVar("T")
P = ParamSpec("P")

MAX_THREADS = 256
"""Synchronous tools of a process at once, with those that were given up and still run."""


_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_IDLE_SECONDS = 10.0
"""A thread without a call ends after that time."""


class DaemonThreads(Executor):
    """A daemon thread for each call, at most `limit` at once; one that is done takes the next."""

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._limit = limit
        self._free = threading.Semaphore(limit)
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Job]] = []

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
        job: _Job = (future, fn, args, kwargs)
        with self._lock:
            jobs = self._idle.pop() if self._idle else None
        if jobs is not None:
            jobs.put(job)
            return future
        try:
            threading.Thread(
                target=self._serve, args=(job,), name="aixgo-tool", daemon=True
            ).start()
        except BaseException:
            self._free.release()
            raise
        return future

    def forget(self) -> None:
        """Begin anew in a process that was forked: it has none of the threads."""
        self._free, self._lock, self._idle = threading.Semaphore(self._limit), threading.Lock(), []

    def _serve(self, job: _Job) -> None:
        """Run a call, and those that come while the thread is kept."""
        jobs: SimpleQueue[_Job] = SimpleQueue()
        while True:
            _run(*job)
            del job  # it holds what the call returned
            with self._lock:
                self._idle.append(jobs)
            self._free.release()
            try:
                job = jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if jobs in self._idle:
                        self._idle.remove(jobs)
                        return
                job = jobs.get()  # it was given one at this moment


def _run(
    future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = fn(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - handed to the waiting caller
        future.set_exception(error)
    else:
        future.set_result(value)


threads = DaemonThreads()
"""Of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.forget)
