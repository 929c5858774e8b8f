"""Tasks that a handler starts cannot end the process.

A `SystemExit` or `KeyboardInterrupt` that leaves a task ends asyncio's loop, and with it every
other call of the process. The worker catches those of a handler itself; what a handler starts
(`asyncio.TaskGroup`, `create_task`) runs as tasks of its own, whose exits become `HandlerExited`
here: an error of the task that is awaited like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

from aixgo.errors import HandlerExited

__all__ = ["at_work", "guard"]

_agent: ContextVar[str] = ContextVar("aixgo_handler_of", default="")


def guard(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """Guard the tasks of handlers on a loop; returns the function that ends it.

    The loop's former task factory is back after the last guard.
    """
    former: Any = loop.get_task_factory()
    found = former if isinstance(former, _Guard) else _Guard(former)
    if found is not former:
        loop.set_task_factory(found)
    found.users += 1

    def release() -> None:
        found.users -= 1
        current: Any = loop.get_task_factory()
        if not found.users and current is found:  # not when another one was set over it
            loop.set_task_factory(found.former)

    return release


def at_work(agent: str) -> None:
    """From here on, tasks that are started in this context belong to a handler of the agent."""
    _agent.set(agent)


class _Guard:
    """A task factory over the former one."""

    def __init__(self, former: Any) -> None:
        self.former, self.users = former, 0

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Future[Any]:
        context: Context | None = options.get("context")
        agent = _agent.get() if context is None else context.get(_agent, "")
        if agent and asyncio.iscoroutine(coro):
            coro = _Guarded(agent, coro)
        if self.former is None:
            return asyncio.Task(coro, loop=loop, **options)
        made: asyncio.Future[Any] = self.former(loop, coro, **options)
        return made


class _Guarded(Coroutine[Any, Any, Any]):
    """A coroutine whose exits are errors; for everything else it is the one inside."""

    __slots__ = ("__weakref__", "_agent", "_inner")

    def __init__(self, agent: str, inner: Coroutine[Any, Any, Any]) -> None:
        self._agent, self._inner = agent, inner

    def send(self, value: Any) -> Any:
        """Go on."""
        try:
            return self._inner.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise HandlerExited(self._agent, error) from error

    def throw(self, *error: Any) -> Any:
        """Go on with an exception."""
        try:
            return self._inner.throw(*error)
        except (SystemExit, KeyboardInterrupt) as exited:
            raise HandlerExited(self._agent, exited) from exited

    def close(self) -> None:
        """End the coroutine."""
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # its frame and its name, for stacks and `repr`
