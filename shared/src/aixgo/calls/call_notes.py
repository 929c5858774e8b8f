"""Notes of accepted calls: what a queue that is written behind must not lose is kept before.

With `power_safe` the CALLS stream acknowledges a call before it is on the disk, so a server that
dies forgets the newest calls. Most are sent again by a caller that waits for them, whose own call
is queued, or noted, in its turn. Where no caller waits that could not be lost itself, the call is
noted first in RESULTS, which is written at once: a run's own call, a parked call that is woken, one
whose timer fired, and a dead letter that is replayed. `calls.upkeep.recovery` publishes again what
is noted, has no result and is nowhere else.
"""

from __future__ import annotations

import logging

from aixgo.broker.port import Broker, Expect
from aixgo.envelope import Envelope, encode
from aixgo.errors import NoResponders, PermissionDenied, WrongSequence
from aixgo.subjects import CALLS, RESULTS, Names

log = logging.getLogger("aixgo.calls")

_ABSENT = Expect(subject_sequence=0)


class CallNotes:
    """The notes of a namespace, where they are needed.

    Attributes:
        wanted: whether CALLS is written behind; None until the first call asks the broker. It does
            not change while a client is connected: a stream is created with it or without.
    """

    def __init__(self, broker: Broker, names: Names) -> None:
        self._broker, self._names = broker, names
        self.wanted: bool | None = None
        self._sure = True

    async def is_wanted(self) -> bool:
        """Return `wanted`, after asking the broker if need be."""
        if self.wanted is None:
            try:
                info = await self._broker.stream_info(self._names.stream(CALLS))
            except PermissionDenied:
                # a note too many is a write too many; one that is missing may be a lost run
                self.wanted, self._sure = True, False
                return True
            if info is None:  # the publication will say so
                return False
            self.wanted = info.config.persist == "async"
        return self.wanted

    async def note(self, call: Envelope, *, first: bool = False) -> bool:
        """Keep a call that is about to be published, if it is wanted; False: there is no new note.

        Args:
            call: as it travels; a large payload is in the object store.
            first: it begins a run; what is noted of it already stands.

        Raises:
            StreamFull, RequestTimeout, PermissionDenied, NoResponders: it is not kept, so it must
                not be published.
        """
        if not await self.is_wanted():
            return False
        try:
            await self._broker.append(
                self._names.accepted(call.target, call.run, call.step),
                encode(call),
                expect=_ABSENT if first else None,
            )
        except WrongSequence:
            return False
        except (PermissionDenied, NoResponders) as error:
            if self._sure:
                raise
            # permissions of before there were notes, or a RESULTS of before
            log.warning("calls.not_noted", extra={"error": str(error)})
            self.wanted = False
            return False
        return True

    async def forget(self, call: Envelope) -> None:
        """Remove the note of a call that the queue refused."""
        subject = self._names.accepted(call.target, call.run, call.step)
        await self._broker.purge(self._names.stream(RESULTS), subject)
