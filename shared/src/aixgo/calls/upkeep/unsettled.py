"""Noted calls that have no result yet: what recovery looks for, and what keeps a run's results."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from aixgo.calls.pages import pages
from aixgo.calls.space import Space
from aixgo.subjects import RESULTS

_MARK = "recovered"
"""Key in the `leases` bucket: the sequence in RESULTS before which no note is of a lost call."""


class Unsettled:
    """The noted calls that have no result, as this process has read them.

    It reads each note once and remembers where it stands, so a look costs as much as has happened
    since the last one, however long some run takes.
    """

    def __init__(self, space: Space) -> None:
        self._broker, self._names = space.broker, space.names
        self._results, self._marks = space.results, space.leases
        self._stream = space.names.stream(RESULTS)
        self._noted: dict[str, int] = {}
        self._next = self._mark = 0

    async def read(self) -> Mapping[str, int]:
        """Return the sequence of each note, by its subject."""
        if not self._next:
            entry = await self._marks.get(_MARK)
            self._next = self._mark = 1 if entry is None else int(entry.value)
        for subject in list(self._noted):
            await self._check(subject)
        every = pages(self._broker, self._stream, self._next, self._names.all_accepted)
        async with aclosing(every):
            async for page in every:
                for record in page:
                    self._noted[record.subject] = record.sequence
                    await self._check(record.subject)
                self._next = page[-1].sequence + 1
        return dict(self._noted)

    def forget(self, subject: str) -> None:
        """Stop looking for a call: it is kept elsewhere, and noted again when it leaves there."""
        self._noted.pop(subject, None)

    async def remember(self) -> None:
        """Let a process that starts later begin where this one is."""
        mark = min(self._noted.values(), default=self._next)
        if mark != self._mark:
            await self._marks.put(_MARK, b"%d" % mark)
            self._mark = mark

    async def _check(self, subject: str) -> None:
        """Forget a note whose call has a result, or that was removed after it had one."""
        if not await self._results.stands_at(self._names.same_step(subject, "res")):
            note = await self._broker.last(self._stream, subject)
            if note is not None:
                self._noted[subject] = note.sequence
                return
        self._noted.pop(subject, None)
