"""What became of the deliveries of one call: which failed, which were no executions, which died.

The broker counts deliveries and does not say why each one came back. So a worker that hands a
delivery back writes down why, and a delivery of which nothing is written down was lost: its process
ended, or was cut off until it went elsewhere. Only that is a death, and between two
deliveries that reach a worker there is one at most: a server that is cut off from its workers
counts deliveries that none of them ever saw. A death counts against `retry.max_deaths` unless the
call has more recorded steps than at the death before, because a call that gets on will end however
often its processes are killed.

A record lies beside the holds in the `leases` bucket, one for each publication of a call, and only
where something did come back: a call that simply succeeds has none.
"""

from __future__ import annotations

import math

import msgspec
from msgspec.structs import replace

from aixgo.calls.cancel import is_below
from aixgo.calls.results import NOTE
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.envelope import Envelope

_SLACK_SECONDS = 60.0
"""A record stays for this long past the call's deadline, as the call itself does."""

_KEPT_SECONDS = 7 * 86_400.0
"""For a call without a deadline, and at most: longer than deliveries of one publication go on."""


class Tries(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Deliveries of a publication that came back, by what became of them.

    Attributes:
        failed: the handler failed, and runs again by the policy.
        refused: found held by another worker; not executions.
        handed: given back by a worker that stopped, or that had no broker to answer to.
        lost: nothing was heard of them.
        stalled: deaths in a row that left no new step.
        steps: recorded steps of the call when the last one was noticed.
    """

    failed: int = 0
    refused: int = 0
    handed: int = 0
    lost: int = 0
    stalled: int = 0
    steps: int = 0

    @property
    def excused(self) -> int:
        """Executions that are no failures of the agent."""
        return self.handed + self.lost


NOTHING = Tries()

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Tries)


class Tally:
    """Counts the deliveries of one agent's calls."""

    def __init__(self, space: Space, agent: str) -> None:
        self._space, self._agent = space, agent
        self._bucket = space.leases

    async def read(self, request: Envelope) -> Tries:
        """Return what is written down of a publication; a record of another shape is nothing."""
        entry = await self._bucket.get(self._key(request))
        if entry is None:
            return NOTHING
        try:
            return _decoder.decode(entry.value)
        except msgspec.DecodeError:
            return NOTHING

    async def failed(self, request: Envelope) -> None:
        """Write down that an execution failed and will be repeated."""
        tries = await self.read(request)
        await self._write(request, replace(tries, failed=tries.failed + 1))

    async def refused(self, request: Envelope) -> None:
        """Write down that a delivery was no execution; those of a call come one at a time."""
        tries = await self.read(request)
        await self._write(request, replace(tries, refused=tries.refused + 1))

    async def handed(self, request: Envelope) -> None:
        """Write down that an execution was given back before its end."""
        tries = await self.read(request)
        await self._write(request, replace(tries, handed=tries.handed + 1))

    async def look(self, request: Envelope, deliveries: int) -> Tries:
        """Return what became of the deliveries before this one, new deaths included.

        Args:
            deliveries: of this publication, this one included. A server that crashed may have
                forgotten some, so less may be lost than is known already.
        """
        tries = await self.read(request)
        lost = deliveries - 1 - tries.failed - tries.refused - tries.handed
        if lost <= tries.lost:
            return tries
        steps = await self._steps(request)
        # one at most: of several deliveries that no worker heard of, a network lost the others
        stalled = 0 if steps > tries.steps else tries.stalled + 1
        tries = replace(tries, lost=lost, stalled=stalled, steps=max(steps, tries.steps))
        await self._write(request, tries)
        return tries

    async def _steps(self, request: Envelope) -> int:
        """Return how many steps of the call, and of what it called, are recorded.

        How a tool came to its value is no step: a tool may end its process each time it is begun.
        """
        results = await self._space.results.of_run(request.run)
        return sum(
            NOTE not in one.meta and one.step != request.step and is_below(one.step, request.step)
            for one in results.values()
        )

    async def _write(self, request: Envelope, tries: Tries) -> None:
        life = _KEPT_SECONDS
        if request.deadline is not None:
            life = min(life, max(0.0, request.deadline - now()) + _SLACK_SECONDS)
        await self._bucket.put(
            self._key(request), _encoder.encode(tries), ttl=float(math.ceil(life))
        )

    def _key(self, request: Envelope) -> str:
        """Key of a publication: the broker counts deliveries of each one anew."""
        step = self._space.names.step_id(self._agent, request.run, request.step)
        return f"{step}.{request.epoch}-{request.attempt}-{request.excused}"
