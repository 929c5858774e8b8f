"""The memory broker: NATS JetStream's semantics in one process, without a server.

async with MemoryBroker() as broker: ...

server = MemoryServer()
async with server.connect() as one, server.connect() as other: ...
"""

from aixgo.broker.memory.broker import MemoryBroker
from aixgo.broker.memory.faults import Faults
from aixgo.broker.memory.server import MemoryServer

__all__ = ["Faults", "MemoryBroker", "MemoryServer"]
