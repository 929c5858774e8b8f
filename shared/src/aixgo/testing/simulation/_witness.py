"""What a simulated connection knows of the process that it belongs to."""

from __future__ import annotations

from typing import Protocol

from aixgo.broker.memory.server import MemoryServer
from aixgo.testing.simulation._faults import Kind
from aixgo.testing.simulation._loop import Life, SimulationLoop


class Witness(Protocol):
    """Sees every operation, and may end with it."""

    name: str
    life: Life

    @property
    def loop(self) -> SimulationLoop:
        """The loop of all processes."""
        ...

    @property
    def server(self) -> MemoryServer:
        """The server of all processes."""
        ...

    def arrives(self, about: str) -> None:
        """Take note of a delivery."""
        ...

    async def before(self, what: str, about: str) -> int:
        """Take note of an operation and return its number; it may not come to it."""
        ...

    async def after(self, number: int, what: str, about: str) -> None:
        """Take note that an operation is done; it may be the last one."""
        ...

    def happens(self, kind: Kind, about: str) -> bool:
        """Return whether a smaller fault happens here, and take note of it."""
        ...

    def late(self, about: str) -> float:
        """Return the seconds that a delivery takes; 0 as nearly always."""
        ...

    def looked(self, subject: str) -> None:
        """Take note that a result was looked for and not found."""
        ...
