"""What every orchestration pattern promises: one plain async function a promise, for any broker.

A check gets `running`, which serves the agents that it is given as a system:

    @asynccontextmanager
    async def running(*agents: Agent) -> AsyncGenerator[System, None]:
        async with App(agents, namespace=unique()).running("memory") as system:
            yield system

    for check in checks.ALL:
        await check(running)

A check returns when the promise is kept and raises AssertionError when it is not. The patterns are
those of the installed role `orchestrator`.
"""

from __future__ import annotations

from aixgo.testing.expect import checks_of
from aixgo_services.orchestrator.checks import nesting, router, sequential
from aixgo_services.orchestrator.checks._agents import Check, Running

__all__ = ["ALL", "Check", "Running"]


ALL: tuple[Check, ...] = tuple(checks_of(sequential, router, nesting))
