"""Running many checks beside each other, because most of them wait for time to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aixgo.testing.broker_checks._stage import Backend, Check, Stage, is_alone, no_meaning
from aixgo.testing.waiting import PATIENCE_SECONDS

CHECK_SECONDS = 2 * PATIENCE_SECONDS
"""Bound of one check; the longest takes about two seconds."""


async def check_all(
    backend: Backend, checks: Iterable[Check], *, at_once: int = 8
) -> dict[Check, Exception | None]:
    """Run checks; returns for each what it raised, or None when the promise is kept.

    Those that restart the server run by themselves at the end; those without a meaning on this
    backend are left out.

    Args:
        at_once: checks beside each other; 1 to measure or to debug.
    """
    outcomes: dict[Check, Exception | None] = {}
    free = asyncio.Semaphore(at_once)

    async def one(check: Check) -> None:
        async with free:
            try:
                async with asyncio.timeout(CHECK_SECONDS), Stage(backend) as stage:
                    await check(stage)
            except Exception as error:  # noqa: BLE001 # it is the outcome
                outcomes[check] = error
            else:
                outcomes[check] = None

    meaningful = [check for check in checks if no_meaning(check, backend.kind) is None]
    async with asyncio.TaskGroup() as group:
        for check in meaningful:
            if not is_alone(check):
                group.create_task(one(check), name=check.__name__)
    for check in meaningful:
        if is_alone(check):
            await one(check)
    return outcomes
