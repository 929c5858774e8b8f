"""Names to addresses for guarded connections: once, and all of them checked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aixgo.errors import MissingExtra
from aixgo.tools.net.guard import Guard

try:
    from aiohttp.abc import AbstractResolver, ResolveResult
except ImportError as error:
    raise MissingExtra("a tool over the network", "tools") from error

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""From a host and a port to the host's addresses; raises `OSError` when there are none."""


def only_connected(info: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an address that is one; a name would be resolved once more."""
    family, kind, protocol, _, address = info
    socket.inet_pton(family, str(address[0]).partition("%")[0])
    return socket.socket(family, kind, protocol)


async def system_lookup(host: str, port: int) -> list[str]:
    """Return the addresses that the system knows of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Resolver(AbstractResolver):
    """Resolves a name once, and returns its addresses only if all of them are allowed."""

    def __init__(self, guard: Guard, lookup: Lookup) -> None:
        self._guard, self._lookup = guard, lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name.

        Raises:
            AddressBlocked: one of them is not allowed.
            OSError: there are none.
        """
        addresses = await self._lookup(host, port)
        self._guard.check_addresses(host, addresses)
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""
