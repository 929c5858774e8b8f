"""Promises about message schedules: the durable timers of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from aixgo import clock
from aixgo.broker import Broker, Delivery, StreamConfig
from aixgo.errors import BrokerError
from aixgo.testing.broker_checks._stage import Stage, alone
from aixgo.testing.expect import Collected, Stopwatch, equal, expect, refused
from aixgo.testing.waiting import eventually


@dataclass(frozen=True)
class _Timers:
    """A stream with schedules, and what has fired in it."""

    broker: Broker
    stream: StreamConfig
    fired: Collected[Delivery]

    def timer(self, name: str) -> str:
        return f"{self.stream.name}.timer.{name}"

    def wake(self, name: str) -> str:
        return f"{self.stream.name}.wake.{name}"

    async def set(self, name: str, after: float, body: bytes) -> None:
        """Fire `body` into the wake subject `after` seconds from now."""
        at = clock.now() + after
        await self.broker.schedule(self.timer(name), body, at=at, target=self.wake(name))


async def _timers(stage: Stage) -> _Timers:
    broker = await stage.connect()
    stream = await stage.stream(broker, allow_schedules=True, allow_ttl=True)
    consumer = await stage.consumer(broker, stream, filters=(f"{stream.name}.wake.>",))
    return _Timers(broker, stream, await stage.deliveries(broker, stream, consumer))


async def a_schedule_fires_into_its_target(stage: Stage) -> None:
    """Promise 36: at its time, with its body; the schedule itself is gone afterwards."""
    timers = await _timers(stage)
    watch = Stopwatch()
    await timers.set("a", 0.4, b"wake up")
    (delivery,) = await timers.fired.exactly(1)
    expect(watch.seconds >= 0.35, f"a timer of 0.4 s fired after {watch.seconds:.3f} s")
    equal("fired", (delivery.subject, delivery.data), (timers.wake("a"), b"wake up"))
    await stage.until_messages(timers.broker, timers.stream, 1)


async def a_schedule_in_the_past_fires_at_once(stage: Stage) -> None:
    """Promise 36: so a timer that was due while everything was down is not lost."""
    timers = await _timers(stage)
    await timers.set("a", -5.0, b"overdue")
    (delivery,) = await timers.fired.exactly(1)
    equal("fired", delivery.data, b"overdue")


async def a_schedule_is_replaced_by_the_same_subject(stage: Stage) -> None:
    """Promise 36: only the newest schedule of a subject fires."""
    timers = await _timers(stage)
    await timers.set("a", 60.0, b"first plan")
    await timers.set("a", 0.2, b"second plan")
    (delivery,) = await timers.fired.exactly(1)
    equal("fired", delivery.data, b"second plan")
    await stage.until_messages(timers.broker, timers.stream, 1)


async def a_schedule_is_cancelled_by_a_purge(stage: Stage) -> None:
    """Promise 36: purging its subject is enough; other schedules fire."""
    timers = await _timers(stage)
    await timers.set("a", 60.0, b"cancelled")
    await timers.set("b", 0.2, b"stays")
    await timers.broker.purge(timers.stream.name, timers.timer("a"))
    (delivery,) = await timers.fired.exactly(1)
    equal("fired", delivery.data, b"stays")
    await stage.until_messages(timers.broker, timers.stream, 1)


async def core_subscribers_do_not_see_a_schedule_fire(stage: Stage) -> None:
    """Promise 36: only consumers of the stream do; it cannot be mistaken for a message."""
    timers = await _timers(stage)
    core = await stage.listen(timers.broker, timers.wake("*"))
    await timers.set("a", 0.2, b"")
    await timers.fired.count(1)
    await core.exactly(0)


@alone
async def a_schedule_survives_a_restart_of_the_server(stage: Stage) -> None:
    """Promise 36: it is a record of a file stream, so it fires after a kill -9."""
    timers = await _timers(stage)
    await timers.set("a", 0.5, b"still there")
    await stage.restart_server()
    (delivery,) = await timers.fired.count(1)
    equal("fired", delivery.data, b"still there")


async def what_a_schedule_fired_is_kept_for_its_time(stage: Stage) -> None:
    """Promise 36: `ttl` counts from when it fires, so nothing unread stays for ever."""
    broker = await stage.connect()
    stream = await stage.stream(broker, allow_schedules=True, allow_ttl=True)
    timer, wake = f"{stream.name}.timer.a", f"{stream.name}.wake.a"
    await broker.schedule(timer, b"", at=clock.now(), target=wake, ttl=1.0)

    async def fired() -> bool:
        return await broker.last(stream.name, wake) is not None

    await eventually(fired, what="fired")
    await eventually(fired, lambda there: not there, what="gone after its time")


async def a_schedule_without_a_place_to_fire_is_refused(stage: Stage) -> None:
    """Promise 36: a target outside of the stream, or a stream that keeps no schedules."""
    broker = await stage.connect()
    stream = await stage.stream(broker, allow_schedules=True)
    timer = f"{stream.name}.timer.a"
    for target in (timer, f"elsewhere-{stream.name}"):
        with refused(BrokerError, what=f"target {target!r}"):
            await broker.schedule(timer, b"", at=clock.now(), target=target)
    plain = await stage.stream(broker)
    with refused(BrokerError, what="a stream without schedules"):
        await broker.schedule(f"{plain.name}.a", b"", at=clock.now(), target=f"{plain.name}.b")


async def a_stream_with_schedules_cannot_refuse_the_new(stage: Stage) -> None:
    """Promise 36: declaring both is refused, because a timer that is due must find room."""
    broker = await stage.connect()
    name = stage.unique("S")
    config = StreamConfig(name=name, subjects=(f"{name}.>",), discard="new", allow_schedules=True)
    with refused(BrokerError, what='schedules with discard="new"'):
        await broker.ensure_stream(config)
