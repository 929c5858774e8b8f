"""One connection for as long as its owner wants it, whatever happens to clients and servers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from nats.aio.client import Client
from nats.errors import StaleConnectionError

from aixgo.broker.nats import _fastpath
from aixgo.broker.nats.connecting import (
    ConnectOptions,
    check_server,
    connect,
    with_patience,
)
from aixgo.broker.nats.events import Events
from aixgo.broker.nats.link import Link
from aixgo.broker.nats.plain import PlainLink
from aixgo.broker.nats.refusals import denied, violation
from aixgo.broker.nats.replies import Replies
from aixgo.broker.port import BusMessage
from aixgo.errors import (
    AixgoError,
    BrokerError,
    ConnectionClosed,
    Disconnected,
    JetStreamDisabled,
    NoResponders,
    PermissionDenied,
    RequestTimeout,
)
from aixgo.pauses import Pauses

log = logging.getLogger("aixgo.broker.nats")

WATCH_SECONDS = 0.5
"""Between two looks of the watchdog at a client that may be dead without saying so."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
"""Back-off between two attempts of a repeated request."""

REBUILD_PAUSE_SECONDS, LONGEST_REBUILD_PAUSE_SECONDS = 0.2, 5.0
"""Back-off between two attempts to replace a client that was closed for good."""

CLOSE_SECONDS = 2.0
"""For the socket to take what is left; a dead peer never does."""

MAX_UNREPORTED = 256
"""Errors of the client that may wait to be reported; more are dropped, never waited for."""


class Connection:
    """Owns the nats-py client, its link and its inbox; reconnects, rebuilds, reports."""

    def __init__(self, servers: list[str], options: ConnectOptions) -> None:
        self._servers = servers
        self._options = options
        self._loop = asyncio.get_running_loop()
        self.events = Events()
        self._errors: deque[Exception] = deque(maxlen=MAX_UNREPORTED)
        self._refused: deque[BrokerError] = deque(maxlen=MAX_UNREPORTED)
        self._cause = ""
        self._server = ""  # the last one, for when there is none
        self._lost_at = 0.0
        self._client: Client | None = None
        self._up = False
        self._came_up = asyncio.Event()
        self._closed = False
        self._watchdog: asyncio.Task[None] | None = None
        self._rebuild: asyncio.Task[None] | None = None
        self.restored: list[Callable[[], None]] = []
        """Called when the connection is up again, after subscriptions were restored."""
        fast = options.fast and _fastpath.available()
        if options.fast and not fast:
            log.warning(
                "nats.slow_path", extra={"reason": f"made for nats-py {_fastpath.CHECKED_VERSION}"}
            )
        self.link: Link = (
            _fastpath.FastLink(self.events.bug) if fast else PlainLink(self.events.bug)
        )
        self.replies = Replies(self.link, options.inbox_prefix)
        self.max_payload = 0
        self.clustered = False
        """Whether the server is one of several, so that streams may have replicas."""

    # -- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect for the first time.

        Raises:
            Unreachable, AuthenticationFailed, ServerTooOld, JetStreamDisabled, ConfigError.
        """
        self.replies.start()
        client = await with_patience(self._new_client, self._options.wait)
        self._adopt(client)
        self._watchdog = asyncio.create_task(self._watch(), name="nats-watchdog")
        if not _fastpath.server_info(client).get("jetstream"):
            await self._find_jetstream()

    async def _find_jetstream(self) -> None:
        """Ask whether another server of the cluster keeps streams; this one does not."""
        try:
            await self.ask("$JS.API.INFO", b"", within=self._options.connect_timeout, attempt=1.0)
        except (NoResponders, RequestTimeout) as error:
            await self.close()
            raise JetStreamDisabled(
                f"the nats-server at {self.server} keeps no streams: JetStream is off. Start it "
                "with `nats-server -js`, or add a `jetstream` block to its configuration"
            ) from error
        except PermissionDenied:
            return  # a user with few permissions may still use some streams

    async def _new_client(self) -> Client:
        client = self.link.new_client()

        async def on_error(error: Exception) -> None:
            # runs inside the read loop of nats-py, which an exception or a wait would end
            self._errors.append(error)
            self._loop.call_soon(self._report)

        async def on_lost() -> None:
            if client is self._client:
                self._lost()

        async def on_restored() -> None:
            if client is self._client:
                self._restored("reconnected")
                try:
                    check_server(client, self._servers)  # it may be another one of the cluster
                except BrokerError as error:
                    self.events.failed(error)

        async def on_closed() -> None:
            if client is self._client and not self._closed:
                self._lost()
                self._rebuild = asyncio.create_task(self._replace(), name="nats-rebuild")

        await connect(
            client,
            self._servers,
            self._options,
            error_cb=on_error,
            disconnected_cb=on_lost,
            reconnected_cb=on_restored,
            closed_cb=on_closed,
        )
        return client

    def _adopt(self, client: Client, kind: str = "") -> None:
        self._client = client
        self.link.attach(client)
        self._restored(kind)

    async def _replace(self) -> None:
        """Build a new client: nats-py closes for good on most errors that a server sends."""
        pauses = Pauses(REBUILD_PAUSE_SECONDS, LONGEST_REBUILD_PAUSE_SECONDS, jitter=True)
        while True:
            try:
                client = await self._new_client()
            except AixgoError as error:
                self.events.failed(error)
            else:
                self._adopt(client, "reconnected")
                return
            await pauses.wait()

    def _restored(self, kind: str) -> None:
        assert self._client is not None
        self.max_payload = self._client.max_payload
        self.clustered = "cluster" in _fastpath.server_info(self._client)
        self._up = True
        self.events.worked()
        self.link.restored()
        self._came_up.set()
        for listener in list(self.restored):
            listener()
        self._server = self.server
        if kind:
            away = self._loop.time() - self._lost_at
            log.warning(
                "broker.reconnected", extra={"server": self._server, "after": round(away, 1)}
            )
            self.events.emit(kind, self.server)

    def _lost(self) -> None:
        if not self._up:
            return
        self._up = False
        self._came_up.clear()
        self.link.lost()
        self.replies.lost()
        self._lost_at = self._loop.time()
        log.warning(
            "broker.disconnected", extra={"server": self._server, "reason": self._cause or "lost"}
        )
        self.events.emit("disconnected", self._cause or self.server)
        self._cause = ""

    async def _watch(self) -> None:
        """Heal what nats-py does not notice: a read loop that ended, a socket that cannot close."""
        stuck = False
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            client = self._client
            if client is None:
                continue
            if _fastpath.reader_is_dead(client):
                self.events.emit("error", "the read loop of nats-py has ended; reconnecting")
                await client.force_reconnect()
            elif client.is_reconnecting and self._up:
                if stuck:
                    _fastpath.abort(client)
                stuck = True
                continue
            stuck = False

    async def close(self) -> None:
        """Disconnect for good; everything that waits gets `ConnectionClosed`. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for task in (self._watchdog, self._rebuild):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        self.link.close()
        self.replies.fail(lambda _: True, self._closed_error())
        self._up = False
        self._came_up.set()
        if self._client is not None:
            await _close_client(self._client)
        self.events.emit("closed", "")

    # -- state ---------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return self._up and self._client is not None and self._client.is_connected

    @property
    def closed(self) -> bool:
        """Whether the owner has closed it."""
        return self._closed

    @property
    def server(self) -> str:
        """Host and port of the server, without credentials."""
        url = self._client.connected_url if self._client is not None else None
        return f"{url.hostname}:{url.port}" if url is not None else ""

    def check_open(self) -> None:
        """Raise ConnectionClosed after `close`."""
        if self._closed:
            raise self._closed_error()

    def _closed_error(self) -> ConnectionClosed:
        return ConnectionClosed(
            f"the connection {self._options.name!r} was closed by this process; open another one"
        )

    async def until_up(self) -> None:
        """Return when the connection is up; unbounded.

        Raises:
            ConnectionClosed: it never will be.
        """
        while not self.connected:
            self.check_open()
            await self._came_up.wait()
            if not self.connected:
                await asyncio.sleep(0.01)  # the loss is noticed, but not yet announced
        self.check_open()

    async def up_within(self, seconds: float) -> None:
        """Return when the connection is up.

        Raises:
            Disconnected: it is not within the bound.
            ConnectionClosed: it never will be.
        """
        try:
            async with asyncio.timeout(seconds):
                await self.until_up()
        except TimeoutError:
            raise Disconnected(
                f"the connection to the broker was down for {seconds:.3g} s; it is being restored"
            ) from None

    # -- talk ----------------------------------------------------------------------------------

    async def ask(
        self, subject: str, data: bytes, *, within: float, attempt: float, headers: bytes = b""
    ) -> tuple[BusMessage, int]:
        """Return the answer to a request that may be repeated, and after how many attempts.

        Args:
            within: seconds for all attempts together, lost connections included.
            attempt: seconds after which an answer counts as lost.

        Raises:
            NoResponders, PermissionDenied, ConnectionClosed: at once.
            RequestTimeout: no answer within the bound.
        """
        deadline = self._loop.time() + within
        pauses, attempts = Pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter=True), 0
        while True:
            attempts += 1
            try:
                if not self.connected:
                    await self.up_within(deadline - self._loop.time())
                left = max(deadline - self._loop.time(), 0.0)
                answer = await self.replies.request(
                    subject, data, timeout=min(attempt, left), headers=headers, fragile=True
                )
            except (RequestTimeout, Disconnected) as error:
                if self._loop.time() + pauses.next >= deadline:
                    raise RequestTimeout(
                        f"no answer on {subject!r} within {within:g} s and {attempts} attempts; "
                        f"last: {error}"
                    ) from error
            else:
                return answer, attempts
            await pauses.wait()

    async def flush(self, timeout: float) -> None:
        """Return when the server has read everything sent before, over lost connections.

        Raises:
            PermissionDenied: it refused a subscription since the last flush.
            RequestTimeout: not within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    await self.until_up()
                    with suppress(Disconnected):
                        await self.link.flush()
                        break
        except TimeoutError:
            raise RequestTimeout(
                f"the broker has not confirmed a flush within {timeout:g} s; is it reachable?"
            ) from None
        self._report()
        if self._refused:
            error = self._refused.popleft()
            self._refused.clear()
            raise error

    # -- tell ----------------------------------------------------------------------------------

    def _report(self) -> None:
        """Handle what the client has reported, outside its read loop."""
        while self._errors:
            error = self._errors.popleft()
            text = str(error)
            found = violation(text)
            if found is not None:
                self._refuse(*found)
            elif isinstance(error, StaleConnectionError) or not self.connected:
                self._cause = text  # the reason of the loss that is announced next
                if not self._up:
                    self.events.failed(error)
            else:
                self.events.emit("error", f"{type(error).__name__}: {text}")

    def _refuse(self, verb: str, subject: str) -> None:
        error = denied(verb, subject)
        if verb == "publish":
            self.replies.deny(subject)
        else:
            for listener in self.link.listeners():
                if listener.subject.lower() == subject:
                    listener.refusal = error = denied(verb, listener.subject)
                    self.link.unlisten(listener)
                    self._refused.append(error)
                    if listener.ended is not None:
                        listener.ended()
        self.events.emit("permission_denied", str(error))


async def _close_client(client: Client) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()
    except TimeoutError:
        _fastpath.abort(client)
    except Exception:
        log.exception("nats.close_failed")
