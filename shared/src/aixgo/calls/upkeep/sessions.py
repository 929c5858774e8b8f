"""Sessions that have expired go, with all that was said in them.

Readers see nothing of them from the moment at which they expire. Any process may do this, at any
time, more than one at once.
"""

from __future__ import annotations

import logging

from aixgo.calls.space import Space
from aixgo.calls.upkeep.lease import lease
from aixgo.calls.upkeep.rounds import make_rounds

log = logging.getLogger("aixgo.calls")

PAUSE_SECONDS = 300.0
"""Between two sweeps; sessions are kept for days."""

LEASE, LEASE_SECONDS = "sessions", 60
"""Key in the `leases` bucket, and the time for which one process does it for all."""


class ExpiredSessions:
    """Removes the conversations of a namespace that have expired."""

    what, pause, calm = "sessions", PAUSE_SECONDS, PAUSE_SECONDS

    def __init__(self, space: Space) -> None:
        self._space = space

    async def run(self) -> None:
        """Sweep again and again, until cancelled."""
        await make_rounds(self)

    async def look(self) -> int:
        """Remove what has expired, unless another process is at it; returns how many."""
        async with lease(self._space.leases, LEASE, LEASE_SECONDS) as ours:
            removed = await self._space.sessions.sweep() if ours else 0
        if removed:
            log.info("sessions.swept", extra={"removed": removed})
        return removed
