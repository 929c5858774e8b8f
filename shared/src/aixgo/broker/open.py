"""From an address to a broker: `memory`, `embedded`, or the URL of a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aixgo.broker.port import Broker
from aixgo.config.servers import Access, parse_servers, shown
from aixgo.errors import ConfigError

MEMORY, EMBEDDED = "memory", "embedded"

SIGN_IN = ("user", "password", "token", "nkeys_seed", "credentials")
"""Options with which a client says who it is; they come from one place."""


@asynccontextmanager
async def open_broker(
    address: str,
    *,
    name: str = "aixgo",
    store: str | Path | None = None,
    server: str | Path | None = None,
    wait: float = 0.0,
    access: Access | None = None,
    **options: Any,
) -> AsyncGenerator[Broker, None]:
    """Open a broker for the length of a block.

    Args:
        address: `memory` for one process; `embedded` for a private nats-server that ends with the
            block; `nats://host:4222`, `tls://host:4222` or several separated by commas.
        name: of this client, as the server's monitoring shows it.
        store: folder in which the embedded server keeps its streams; temporary without it.
        server: path of the nats-server that `embedded` starts, if not the installed one.
        wait: seconds for which a server at an address that is not there yet is tried again;
            `memory` and `embedded` are there at once.
        access: how to sign in at an address that does not say it; the variables `AIXGO_NATS_…`
            fill in what it leaves out.
        options: those of `NatsBroker.connect`; they count more than the address and `access`.

    Raises:
        ConfigError: the address or an option makes no sense.
        MissingExtra: the client or server of NATS is not installed.
        Unreachable, AuthenticationFailed, ServerTooOld, JetStreamDisabled: from the server.
    """
    address = address.strip()
    if address != EMBEDDED and (store is not None or server is not None):
        raise ConfigError(
            f"`store` and `server` belong to the address 'embedded', not to {shown(address)!r}"
        )
    if address == MEMORY:
        if options:
            raise ConfigError(
                f"the memory broker has no option {', '.join(map(repr, sorted(options)))}; leave "
                "it out, or use a nats:// address"
            )
        from aixgo.broker.memory import MemoryBroker

        async with MemoryBroker(name=name) as memory:
            yield memory
    elif address == EMBEDDED:
        from aixgo.broker.embedded import EmbeddedServer
        from aixgo.broker.nats import NatsBroker

        async with (
            EmbeddedServer(store, server=server) as started,
            await NatsBroker.connect(started.url, name=name, **options) as embedded,
        ):
            yield embedded
    elif address.startswith(("nats://", "tls://")):
        from aixgo.broker.nats import NatsBroker

        signing_in = _signing_in(address, access or Access(), options)
        async with await NatsBroker.connect(address, name=name, wait=wait, **signing_in) as broker:
            yield broker
    else:
        raise ConfigError(
            f"unknown broker address {shown(address)!r}; use 'memory', 'embedded', or "
            "nats://host:4222 (tls:// with encryption), several separated by commas"
        )


def _signing_in(address: str, access: Access, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options with what else is known about signing in; the nearest counts."""
    known = access.or_else(Access.from_environment()).options()
    if parse_servers(address).sign_in or any(name in options for name in SIGN_IN):
        known = {name: value for name, value in known.items() if name not in SIGN_IN}
    if "tls" in options or "tls_hostname" in options:
        known = {name: value for name, value in known.items() if not name.startswith("tls")}
    return {**known, **options}
