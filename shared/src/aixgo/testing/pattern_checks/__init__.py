"""What every orchestration pattern promises: one plain async function a promise, for any broker.

A check gets `running`, which serves the agents that it is given as a system:

    @asynccontextmanager
    async def running(*agents: Agent) -> AsyncGenerator[System, None]:
        async with App(agents, namespace=unique()).running("memory") as system:
            yield system

    for check in pattern_checks.ALL:
        await check(running)

A check returns when the promise is kept and raises AssertionError when it is not. The patterns are
those of the installed role `orchestrator`.
"""

from __future__ import annotations

import inspect
from types import ModuleType

from aixgo.testing.pattern_checks import nesting, router, sequential
from aixgo.testing.pattern_checks._agents import Check, Running

__all__ = ["ALL", "Check", "Running"]


def _checks_of(module: ModuleType) -> list[Check]:
    """Return the public coroutine functions that a module itself defines, in their order."""
    return [
        function
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
    ]


ALL: tuple[Check, ...] = tuple(
    check for module in (sequential, router, nesting) for check in _checks_of(module)
)
