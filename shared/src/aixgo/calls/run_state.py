"""The shared state of a run: every value that a key ever had, kept with the run's results.

A value is a record of its own, numbered by version, and a version is written once. So whether a
write succeeded can be looked up for ever, which is what makes a repeated step come to the same end.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aixgo.broker.port import Expect, Log, Record
from aixgo.calls.foreign import Foreign
from aixgo.calls.room import STEP_RESULTS, Room
from aixgo.errors import WrongSequence
from aixgo.subjects import RESULTS, Names

_ABSENT = Expect(subject_sequence=0)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a key.

    Attributes:
        number: 1 for the first.
        by: step of the run that wrote it.
    """

    key: str
    number: int
    by: str
    value: msgspec.Raw


_decode = msgspec.json.Decoder(Version).decode


class RunState:
    """The shared state of the runs of a namespace."""

    def __init__(self, broker: Log, names: Names, foreign: Foreign, room: Room) -> None:
        self._broker, self._names, self._foreign, self._room = broker, names, foreign, room
        self._stream = names.stream(RESULTS)

    async def newest(self, run: str, key: str) -> Version | None:
        """Return the newest version of a key; None when it never had a value.

        Asked of the leader, because a step expects to find what the one before it wrote; and of all
        versions, because upkeep may be writing them anew, the oldest first.
        """
        subjects = self._names.state_of(run, key)
        found = await self._read(subjects)
        record = await self._broker.last(self._stream, subjects, decisive=True)
        last = None if record is None else self._version(record)
        if last is not None:
            found.append(last)
        return max(found, key=lambda one: one.number, default=None)

    async def at(self, run: str, key: str, number: int) -> Version | None:
        """Return a version of a key; None when it is not written yet."""
        subject = self._names.state(run, key, number)
        record = await self._broker.last(self._stream, subject, decisive=True)
        return None if record is None else self._version(record)

    async def of_run(self, run: str) -> Sequence[Version]:
        """Return everything that is kept of a run, in the order of its versions."""
        found = await self._read(self._names.states_of(run))
        return sorted(found, key=lambda one: one.number)

    async def write(self, run: str, version: Version) -> Version:
        """Write a version that is not written yet; returns the one that stands.

        Raises:
            RequestTimeout: nothing is written.
        """
        data = msgspec.json.encode(version)
        await self._room.wait(RESULTS, STEP_RESULTS, len(data))
        subject = self._names.state(run, version.key, version.number)
        try:
            await self._broker.append(subject, data, expect=_ABSENT)
        except WrongSequence:
            return await self.at(run, version.key, version.number) or version
        return version

    async def _read(self, subjects: str) -> list[Version]:
        records = await self._broker.read(self._stream, subjects)
        return [one for one in map(self._version, records) if one is not None]

    def _version(self, record: Record) -> Version | None:
        try:
            return _decode(record.data)
        except msgspec.DecodeError:
            self._foreign.add(record)
            return None
