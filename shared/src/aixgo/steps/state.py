"""`ctx.state`: values that all agents of a run share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.calls.run_state import RunState, Version
from aixgo.envelope import CLAIM_CHECK_BYTES
from aixgo.errors import InvalidPayload
from aixgo.payloads import to_payload

if TYPE_CHECKING:
    from aixgo.steps.execution import Execution

KEY_CHARS = 128
"""Longest key, in characters."""

_NULL = msgspec.Raw(b"null")


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What a step read: the number of the version, 0 for none, and its value."""

    number: int
    value: msgspec.Raw = _NULL


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """The version that a step decided to write; 0 when the value was another than expected."""

    number: int


class StateSteps:
    """Values that all agents of a run share, by key; every verb is a durable step.

    A value is JSON of at most 64 kB; one that was never set is None. What a step read, and whether
    it wrote, is recorded: a repeated execution sees and does the same. State ends with its run.
    """

    def __init__(self, execution: Execution, state: RunState) -> None:
        self._execution, self._state = execution, state

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        found = await self._read(_checked(key))
        return msgspec.json.decode(found.value) if found.number else default

    async def set(self, key: str, value: Any) -> None:
        """Set a key, whatever it was.

        Raises:
            InvalidPayload: the value is not JSON, or over 64 kB.
        """
        body = _body(_checked(key), value)
        while True:
            path = self._execution.place("state", "")
            tried = await self._execution.decided(path, Try)
            if tried is None:
                newest = await self._newest(key)
                own = Try(number=1 if newest is None else newest.number + 1)
                tried = await self._execution.decide(path, own)
            if await self._write(path, key, body, tried):
                return

    async def compare_and_set(self, key: str, expected: Any, value: Any) -> bool:
        """Set a key if its value is the expected one; False when another step was faster.

        Args:
            expected: None: it was never set, or is None.

        Raises:
            InvalidPayload: a value is not JSON, or over 64 kB.
        """
        body, wanted = _body(_checked(key), value), msgspec.json.decode(_body(key, expected))
        path = self._execution.place("state", "")
        tried = await self._execution.decided(path, Try)
        if tried is None:
            newest = await self._newest(key)
            found = (
                Read(number=0) if newest is None else Read(number=newest.number, value=newest.value)
            )
            same = wanted == msgspec.json.decode(found.value)
            own = Try(number=found.number + 1 if same else 0)
            tried = await self._execution.decide(path, own)
        return tried.number > 0 and await self._write(path, key, body, tried)

    async def update(self, key: str, function: Callable[[Any], Any]) -> Any:
        """Set a key to what a function makes of its value, and return that; none is lost.

        Args:
            function: called again when another step was faster, and in repeated executions: it has
                no effects.
        """
        while True:
            before = await self.get(key)
            value = function(before)
            if await self.compare_and_set(key, before, value):
                return value

    async def _read(self, key: str) -> Read:
        path = self._execution.place("state", "")
        found = await self._execution.decided(path, Read)
        if found is None:
            newest = await self._newest(key)
            own = (
                Read(number=0) if newest is None else Read(number=newest.number, value=newest.value)
            )
            found = await self._execution.decide(path, own)
        return found

    async def _newest(self, key: str) -> Version | None:
        return await self._state.newest(self._execution.run_id, key)

    async def _write(self, path: str, key: str, body: msgspec.Raw, tried: Try) -> bool:
        """Write the version that was decided on, unless it is written; whether it is this step's.

        So the outcome follows from two records that never change, in every execution of the step.
        """
        run = self._execution.run_id
        standing = await self._state.at(run, key, tried.number)
        if standing is None:
            version = Version(key=key, number=tried.number, by=path, value=body)
            standing = await self._state.write(run, version)
        return standing.by == path


def _checked(key: str) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= KEY_CHARS:
        raise InvalidPayload(
            f"{key!r:.200} cannot be a key of a run's state: give a text of 1 to {KEY_CHARS} "
            "characters"
        )
    return key


def _body(key: str, value: Any) -> msgspec.Raw:
    body = to_payload(value)
    size = memoryview(body).nbytes
    if size > CLAIM_CHECK_BYTES:
        raise InvalidPayload(
            f"the value of {key!r} in a run's state is {size:,} bytes, over the limit of "
            f"{CLAIM_CHECK_BYTES:,} bytes; return large values as results, or keep their address"
        )
    return body
