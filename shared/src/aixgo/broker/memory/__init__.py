"""The memory broker: NATS JetStream's semantics in one process, without a server.

async with MemoryBroker() as broker: ...

server = MemoryServer()
async with MemoryBroker(server) as one, MemoryBroker(server) as other: ...
"""

from aixgo.broker.memory.broker import MemoryBroker
from aixgo.broker.memory.faults import Faults
from aixgo.broker.memory.server import MemoryServer

__all__ = ["Faults", "MemoryBroker", "MemoryServer"]
