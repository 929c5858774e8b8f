"""What the uses of tools share in one process: values that are given again, and places.

Both end with the event loop that they belong to.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from aixgo.stores.sessions.port import SESSION, USER
from aixgo.tools.port import ToolSpec

MAX_VALUES, MAX_VALUES_BYTES = 2_000, 32 * 1024 * 1024
"""Of all cached values of a process; those that were not used for longest go first."""

MAX_VALUE_BYTES = 1024 * 1024
"""A longer value is not cached."""

CALLER = (SESSION, USER)
"""Keys of a run's metadata that say for whom it works."""

_FREE = nullcontext()


class Values:
    """Values of `read` tools that are given again for a time.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, if there is one whose time is not over."""
        found = self._found.get(key)
        if found is None:
            return None
        until, value = found
        if until <= self._clock():
            self._drop(key)
            return None
        self._found.move_to_end(key)
        return value

    def put(self, key: bytes, value: bytes, seconds: float) -> None:
        """Keep a value for that long, or until there is no room."""
        if len(value) > MAX_VALUE_BYTES:
            return
        if key in self._found:
            self._drop(key)
        self._found[key] = (self._clock() + seconds, value)
        self._bytes += len(key) + len(value)
        while len(self._found) > MAX_VALUES or self._bytes > MAX_VALUES_BYTES:
            self._drop(next(iter(self._found)))

    def _drop(self, key: bytes) -> None:
        _, value = self._found.pop(key)
        self._bytes -= len(key) + len(value)


def value_key(
    namespace: str, agent: str, tool: str, meta: Mapping[str, Any], arguments: msgspec.Raw
) -> bytes:
    """Return what must be equal for a value to be given again.

    Args:
        meta: of the run; who it works for is in it.
    """
    caller = [meta.get(key) for key in CALLER]
    parts = [namespace, agent, tool, caller, msgspec.json.decode(arguments)]
    return msgspec.json.encode(parts, order="sorted")


class _OfLoop:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.values = Values(clock)
        self.places: dict[tuple[str, str, int], asyncio.Semaphore] = {}


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()


def _here() -> _OfLoop:
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = _OfLoop(loop.time)
    return found


def values() -> Values:
    """Return the cached values of this process."""
    return _here().values


def place(namespace: str, spec: ToolSpec) -> AbstractAsyncContextManager[None]:
    """Return the block in which a tool is executed; entering it waits for a free place.

    Tools of one name and limit share their places, whichever agents have them.
    """
    if not spec.concurrency:
        return _FREE
    places, key = _here().places, (namespace, spec.name, spec.concurrency)
    if key not in places:
        places[key] = asyncio.Semaphore(spec.concurrency)
    return places[key]
