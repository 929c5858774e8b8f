"""A process that serves until a signal: one way for every service, whatever it serves.

`run` is the main function of a process, `run_service` what a service does in it (connect, start,
answer `/health` and `/ready`, drain), and `signals` the part that others build on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.errors import ConfigError, MissingExtra
from aixgo.hosting.http import health_server
from aixgo.telemetry import logs, otel

__all__ = [
    "DRAIN_SECONDS",
    "HEALTH_PORT",
    "WAIT_SECONDS",
    "Service",
    "Signals",
    "run",
    "run_service",
    "signals",
]

log = logging.getLogger("aixgo.hosting.process")
T = TypeVar("T")

HEALTH_PORT = 8081
"""Default port of `/health` and `/ready`."""

WAIT_SECONDS = 30.0
"""For a broker that is started next to its services, or comes back while one of them starts."""

DRAIN_SECONDS = 25.0
"""Time to finish held work; Kubernetes kills after 30 s, and five are kept to say good-bye."""

LATE_SECONDS = 2.0
"""What a service may take longer than its grace to stop, for its last writes to the broker."""

END_SECONDS = 5.0
"""What tasks and threads that are left over may take to end when the process ends."""


class Service(Protocol):
    """What a process serves."""

    @property
    def failure(self) -> BaseException | None:
        """What ended a part of it for good, or None."""
        ...

    def health(self) -> dict[str, bool]:
        """Return whether each of its parts takes work now."""
        ...

    async def start(self) -> None:
        """Start; return when it is ready."""
        ...

    async def stop(self, grace: float) -> None:
        """Take nothing new, finish within `grace` seconds, hand over the rest."""
        ...


class Signals:
    """Tells when the process should end: `stop` at the first SIGTERM or SIGINT, then `hurry`."""

    def __init__(self) -> None:
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        self.exit_code = 0
        """What a shell reports of a process that the first signal ended before its work was done;
        0 while there was none."""

    def arrived(self, number: signal.Signals) -> None:
        """Take note of a signal."""
        self.exit_code = self.exit_code or 128 + number
        (self.hurry if self.stop.is_set() else self.stop).set()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns, or cancel it and return None when `stop` is set first."""
        working = asyncio.create_task(work, name="work until a signal")
        stopping = asyncio.create_task(self.stop.wait(), name="signal")
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            stopping.cancel()
            if not working.done():
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    async def drain(self, stop: Callable[[float], Awaitable[None]], grace: float) -> None:
        """Run `stop(grace)`; at the second signal `stop(0)` instead.

        Returns within `grace` and `LATE_SECONDS`, and logs `service.stuck` when `stop` did not: a
        handler goes on although it was cancelled.
        """
        draining = asyncio.ensure_future(stop(grace))
        hurried = asyncio.create_task(self.hurry.wait(), name="second signal")
        try:
            await asyncio.wait(
                {draining, hurried},
                timeout=grace + LATE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not draining.done() and hurried.done():
                draining.cancel()
                draining = asyncio.ensure_future(stop(0.0))
                await asyncio.wait({draining}, timeout=LATE_SECONDS)
            if draining.done():
                return draining.result()
            draining.cancel()
            log.error("service.stuck", extra={"tasks": _stuck(asyncio.get_running_loop())})
        finally:
            hurried.cancel()


_listening: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Signals]] = WeakKeyDictionary()
"""Who waits for signals in each loop: a loop has one handler for each signal, and several may
serve in it."""

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals() -> Generator[Signals, None, None]:
    """Listen to SIGTERM and SIGINT until the block is left; several in one loop hear each signal.

    Raises:
        ConfigError: this is not the main thread, which alone gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError(
            f"signals reach only the main thread, and this is {threading.current_thread().name!r}; "
            "call it from the main thread, or use `async with app.running(broker)`, which ends "
            "when its block is left"
        )
    loop = asyncio.get_running_loop()
    listeners = _listening.setdefault(loop, [])
    if not listeners:
        for number in _NUMBERS:
            loop.add_signal_handler(number, _arrived, listeners, number)
    own = Signals()
    listeners.append(own)
    try:
        yield own
    finally:
        listeners.remove(own)
        if not listeners:
            for number in _NUMBERS:
                loop.remove_signal_handler(number)


def _arrived(listeners: list[Signals], number: signal.Signals) -> None:
    for listener in listeners:
        listener.arrived(number)


async def run_service(
    name: str,
    broker: str,
    make: Callable[[Broker], Service],
    *,
    prepare: Callable[[Broker], Awaitable[object]] | None = None,
    wait: float = WAIT_SECONDS,
    health_host: str = "127.0.0.1",
    health_port: int = HEALTH_PORT,
    grace: float = DRAIN_SECONDS,
    about: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Serve over one connection until SIGTERM or SIGINT, then drain and return.

    Args:
        name: of the process at the broker and in traces.
        make: returns the service for a connection.
        prepare: is awaited before that, such as provisioning.
        wait: seconds for which a server that is not there yet is waited for; one that refuses this
            client ends it at once.
        health_port: 0 takes a free port.
        grace: seconds for what runs when the signal comes.
        about: fields of the log lines about the service; if nothing is configured, they are
            logged from `info` on.
        options: those of `open_broker`.

    Raises:
        ConfigError, BrokerError: before anything is served.
    """
    about = {"service": name} if about is None else about
    if not logging.getLogger().hasHandlers():
        logs.configure()
    with signals() as told, otel.configured(name):
        async with AsyncExitStack() as stack:
            opening = open_broker(broker, name=name, wait=wait, **options)
            connection = await told.unless_stopped(stack.enter_async_context(opening))
            if connection is None:
                log.info("service.stopped", extra={**about, "reason": "before it began"})
                return
            if prepare is not None:
                await prepare(connection)
            service = make(connection)
            async with health_server(
                health_host,
                health_port,
                health=lambda: (service.failure is None, {"agents": service.health()}),
                ready=lambda: (
                    connection.connected
                    and not told.stop.is_set()
                    and all(service.health().values()),
                    {"connected": connection.connected, "agents": service.health()},
                ),
            ) as port:
                try:
                    await service.start()
                    log.info("service.ready", extra={**about, "health_port": port})
                    await told.stop.wait()
                finally:
                    log.info("service.draining", extra={**about, "grace": grace})
                    await told.drain(service.stop, grace)
    log.info("service.stopped", extra=about)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the main function of a process to its end, on uvloop when AIXGO_UVLOOP is set.

    What is still there then is cancelled. What does not end within `END_SECONDS`, because it
    swallows its cancellation or is a thread, is named in one log line, and the process ends with
    status 1 without it. What holds the event loop itself (a `time.sleep`, a C call) cannot be
    ended from inside of Python; the platform's SIGKILL does.

    Raises:
        MissingExtra: uvloop is wanted and not installed.
    """
    factory = None
    if os.environ.get("AIXGO_UVLOOP"):
        try:
            import uvloop
        except ImportError:
            work.close()
            raise MissingExtra("AIXGO_UVLOOP", "uvloop") from None
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(work)
        finally:
            _end_within(END_SECONDS, runner.get_loop())


def _end_within(seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    """End the process if its loop is not closed after that time."""

    def give_up() -> None:
        if loop.is_closed():
            return
        log.error("process.stuck", extra={"tasks": _stuck(loop), "threads": _threads()})
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def _stuck(loop: asyncio.AbstractEventLoop) -> list[str]:
    """Return the names of the tasks that go on although they were cancelled."""
    return sorted(task.get_name() for task in asyncio.all_tasks(loop) if task.cancelling())


def _threads() -> list[str]:
    return sorted(
        thread.name
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
    )
