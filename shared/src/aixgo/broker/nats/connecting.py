"""The first word with a server: options, the bound of a connect, and why it failed."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error, NoServersError

from aixgo.broker.nats import _fastpath
from aixgo.broker.nats.link import BUFFER_BYTES
from aixgo.config.servers import shown
from aixgo.errors import (
    AuthenticationFailed,
    BrokerError,
    ConfigError,
    ServerTooOld,
    Unreachable,
)
from aixgo.pauses import Pauses

log = logging.getLogger("aixgo.broker.nats")

OLDEST_SERVER = (2, 12)
"""Older ones silently ignore TTLs, wildcard compare-and-set, several filters and schedules."""

RECONNECT_WAIT_SECONDS = 0.2
"""Between two attempts at one server; every connection adds up to half of it, so that a restarted
server does not meet all its clients at once."""

PING_SECONDS = 5
"""With two pings missing a silent connection is given up after 15 s (nats-py's default: 6 min)."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0
"""Back-off between two attempts at a server that is awaited."""

Callback = Callable[[], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class ConnectOptions:
    """How to connect; see `NatsBroker.connect`."""

    name: str = "aixgo"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    nkeys_seed: str | Path | None = field(default=None, repr=False)
    credentials: str | Path | None = None
    tls: ssl.SSLContext | None = None
    tls_hostname: str | None = None
    inbox_prefix: str = "_INBOX"
    connect_timeout: float = 5.0
    wait: float = 0.0
    fast: bool = True

    @property
    def seed_is_given(self) -> bool:
        """Whether `nkeys_seed` is the seed itself, and not the path of a file."""
        return str(self.nkeys_seed).startswith("SU")

    def check_files(self) -> None:
        """Check that the files can be read; nats-py ignores credentials that no server asks for.

        Raises:
            ConfigError: one cannot be.
        """
        seed = None if self.seed_is_given else self.nkeys_seed
        for path in (seed, self.credentials):
            try:
                if path is not None:
                    Path(path).open("rb").close()
            except OSError as error:
                raise ConfigError(
                    f"the file {str(path)!r} with credentials cannot be read: {error.strerror}"
                ) from error

    def for_client(self) -> dict[str, Any]:
        """Return the options as `Client.connect` names them."""
        options: dict[str, Any] = {
            "name": self.name,
            "user": self.user,
            "password": self.password,
            "token": self.token,
            "inbox_prefix": self.inbox_prefix,
            "connect_timeout": self.connect_timeout,
            "tls": self.tls,
            "tls_hostname": self.tls_hostname,
        }
        if self.credentials is not None:
            options["user_credentials"] = str(self.credentials)
        if self.nkeys_seed is not None:
            seed = str(self.nkeys_seed)
            options["nkeys_seed_str" if self.seed_is_given else "nkeys_seed"] = seed
        return options


async def with_patience(attempt: Callable[[], Awaitable[Client]], seconds: float) -> Client:
    """Return the client of the first attempt that succeeds, of those begun within `seconds`.

    Only an absent server is waited for; one that answers and refuses ends it at once.

    Raises:
        Unreachable: no server answered in that time.
        AuthenticationFailed, ServerTooOld, ConfigError: from the attempt.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    pauses = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=True)
    told = False
    while True:
        try:
            return await attempt()
        except Unreachable as error:
            left = until - loop.time()
            if left <= 0:
                if not told:
                    raise
                raise Unreachable(f"{error} It was waited for {seconds:g} s") from error
            if not told:
                log.warning("broker.awaited", extra={"seconds": seconds, "reason": str(error)})
                told = True
        await asyncio.sleep(min(pauses.take(), left))


async def connect(
    client: Client,
    servers: list[str],
    options: ConnectOptions,
    *,
    error_cb: Callable[[Exception], Awaitable[None]],
    disconnected_cb: Callback,
    reconnected_cb: Callback,
    closed_cb: Callback,
) -> None:
    """Connect a client, or say within `connect_timeout` seconds why not.

    Raises:
        Unreachable, AuthenticationFailed, ServerTooOld, ConfigError.
    """
    await asyncio.to_thread(options.check_files)
    attempts = _Attempts(servers, options.connect_timeout)

    async def on_error(error: Exception) -> None:
        if attempts.over:
            await error_cb(error)
        else:
            attempts.failed(error)

    connecting = asyncio.create_task(
        client.connect(
            servers,
            error_cb=on_error,
            disconnected_cb=disconnected_cb,
            reconnected_cb=reconnected_cb,
            closed_cb=closed_cb,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_SECONDS * random.uniform(1.0, 1.5),  # type: ignore[arg-type] # seconds; any number works
            ping_interval=PING_SECONDS,
            max_outstanding_pings=2,
            pending_size=BUFFER_BYTES,
            **options.for_client(),
        ),
        name="nats-connect",
    )
    try:
        await attempts.outcome(connecting)
        check_server(client, servers, tls=options.tls is not None)
    except BaseException:
        await _give_up(client, connecting)
        raise
    attempts.over = True


class _Attempts:
    """Watches the attempts of nats-py, which by itself would go on for ever."""

    def __init__(self, servers: list[str], timeout: float) -> None:
        self._servers = servers
        self._timeout = timeout
        self._failures: list[Exception] = []
        self._hopeless = asyncio.Event()
        self.over = False

    def failed(self, error: Exception) -> None:
        """Note a failed attempt; all servers failed, or one refused us: there is no hope."""
        self._failures.append(error)
        if _refuses_us(error) or len(self._failures) >= len(self._servers):
            self._hopeless.set()

    async def outcome(self, connecting: asyncio.Task[None]) -> None:
        """Return when connected; raise why not."""
        giving_up = asyncio.create_task(self._hopeless.wait())
        try:
            await asyncio.wait(
                {connecting, giving_up},
                timeout=self._timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            giving_up.cancel()
        if not connecting.done():
            raise self._reason()
        try:
            connecting.result()
        except (OSError, Error, TimeoutError) as error:
            self._failures.append(error)
            raise self._reason() from error
        except ImportError as error:
            raise ConfigError(
                f"these credentials need a package that is not installed: {error.name}; "
                f"pip install {error.name}"
            ) from error
        except Exception as error:
            # keys and tokens are read by packages with exceptions of their own
            raise ConfigError(
                f"these credentials or options cannot be used: {type(error).__name__}: {error}"
            ) from error

    def _reason(self) -> BrokerError:
        address = shown(",".join(self._servers))
        for error in self._failures:
            if _refuses_us(error):
                return AuthenticationFailed(
                    f"the broker at {address} refuses this client: {_text(error)}. Check user, "
                    "password, token, key or certificate"
                )
        detail = _text(self._failures[-1]) if self._failures else "no answer"
        return Unreachable(
            f"no NATS server answered at {address} within {self._timeout:g} s: {detail}. Start "
            "one there, or use 'embedded' (starts its own) or 'memory' (needs none)"
        )


_REFUSALS = ("authorization", "authentication", "nkey", "jwt", "account", "secure connection")


def _refuses_us(error: Exception) -> bool:
    if isinstance(error, ssl.SSLError):
        return True
    text = str(error).lower()
    if "authentication timeout" in text:  # the client was too slow to say who it is
        return False
    return isinstance(error, Error) and any(word in text for word in _REFUSALS)


def _text(error: Exception) -> str:
    if isinstance(error, NoServersError):
        return "no server left to try"
    return str(error).removeprefix("nats: ") or type(error).__name__


async def _give_up(client: Client, connecting: asyncio.Task[None]) -> None:
    """End an attempt, although a cancelled `wait_for` may go on once."""
    while not connecting.done():
        connecting.cancel()
        await asyncio.wait([connecting], timeout=0.1)
    if not connecting.cancelled():
        connecting.exception()
    with suppress(Exception):
        async with asyncio.timeout(1.0):
            await client.close()
    _fastpath.abort(client)


def check_server(client: Client, servers: list[str], *, tls: bool = False) -> None:
    """Check that the server can keep our promises.

    Raises:
        ServerTooOld, AuthenticationFailed.
    """
    address = shown(",".join(servers))
    version = client.connected_server_version
    try:
        found = (version.major, version.minor)
    except ValueError:
        found = (0, 0)
    if found < OLDEST_SERVER:
        version_text = _fastpath.server_info(client).get("version", "unknown")
        needed = ".".join(str(number) for number in OLDEST_SERVER)
        raise ServerTooOld(
            f"the nats-server at {address} is version {version_text}, but {needed} or "
            "newer is needed (older ones silently ignore TTLs and compare-and-set); upgrade it, or "
            "use 'embedded'"
        )
    if (servers[0].startswith("tls:") or tls) and not _fastpath.is_encrypted(client):
        asks = "certificates were given" if tls else f"the address {address} asks for TLS"
        raise AuthenticationFailed(
            f"{asks}, but the server at {address} does not speak TLS; configure `tls` on the "
            "server, or write nats:// and leave the certificates out if the network is trusted"
        )
