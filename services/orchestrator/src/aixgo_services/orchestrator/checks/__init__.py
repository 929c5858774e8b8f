"""What every orchestration pattern promises: one plain async function a promise, for any broker.

A check gets `running`, which serves the agents that it is given as a system of their own:

    for check in checks.ALL:
        await check(run_local)  # of aixgo.testing: on the memory broker
        await check(functools.partial(run_local, broker="nats://localhost:4222"))

A check returns when the promise is kept and raises AssertionError when it is not. The patterns are
those of the installed role `orchestrator`.
"""

from __future__ import annotations

from aixgo.testing.expect import checks_of
from aixgo.testing.local import Running
from aixgo_services.orchestrator.checks import nesting, router, sequential
from aixgo_services.orchestrator.checks._agents import Check

__all__ = ["ALL", "Check", "Running"]


ALL: tuple[Check, ...] = tuple(checks_of(sequential, router, nesting))
