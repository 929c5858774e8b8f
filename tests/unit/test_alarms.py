"""`aixgo.calls.alarms`: deadlines fire when they should, and never otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from aixgo.calls.alarms import Alarm, Alarms

pytestmark = pytest.mark.virtual_time


class Bell(Alarm):
    """Calls something when it rings."""

    def __init__(self, alarms: Alarms, when: float, call: Callable[[], None]) -> None:
        super().__init__()
        self._call = call
        alarms.set(self, when)

    def ring(self) -> None:
        self._call()


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.3, 0.999, 1.0, 1.5, 59.75, 3600.0])
async def test_an_alarm_rings_on_time_in_whatever_bucket_it_waited(seconds: float) -> None:
    alarms, rang = Alarms(), asyncio.Event()
    when = alarms.loop.time() + seconds
    Bell(alarms, when, rang.set)
    await rang.wait()
    assert alarms.loop.time() == pytest.approx(when, abs=1e-6)


async def test_a_past_moment_rings_at_once() -> None:
    alarms, rang = Alarms(), asyncio.Event()
    before = alarms.loop.time()
    Bell(alarms, before - 10.0, rang.set)
    await rang.wait()
    assert alarms.loop.time() == before


@pytest.mark.parametrize("seconds", [0.3, 5.5])
async def test_a_cancelled_alarm_stays_silent(seconds: float) -> None:
    alarms, rang = Alarms(), asyncio.Event()
    alarm = Bell(alarms, alarms.loop.time() + seconds, rang.set)
    alarm.cancel()
    alarm.cancel()
    await asyncio.sleep(seconds + 2.0)
    assert not rang.is_set()


async def test_an_alarm_cancelled_inside_its_own_second_stays_silent() -> None:
    alarms, rang = Alarms(), asyncio.Event()
    when = float(int(alarms.loop.time()) + 5) + 0.8
    alarm = Bell(alarms, when, rang.set)
    await asyncio.sleep(when - 0.5 - alarms.loop.time())  # its bucket is open
    alarm.cancel()
    await asyncio.sleep(3.0)
    assert not rang.is_set()


async def test_many_alarms_of_one_second_ring_in_order() -> None:
    alarms, rang = Alarms(), list[int]()
    start = float(int(alarms.loop.time()) + 2)
    for n in reversed(range(10)):
        Bell(alarms, start + n / 10, partial(rang.append, n))
    await asyncio.sleep(5.0)
    assert rang == list(range(10))


@pytest.mark.parametrize("seconds", [0.0, 0.2, 30.0])
async def test_a_limit_ends_a_block_that_waits_too_long(seconds: float) -> None:
    alarms = Alarms()
    limit = alarms.limit(alarms.loop.time() + seconds)
    began = alarms.loop.time()
    with pytest.raises(TimeoutError), limit:
        await asyncio.sleep(100.0)
    assert limit.expired
    assert alarms.loop.time() - began == pytest.approx(seconds, abs=1e-6)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    alarms = Alarms()
    limit = alarms.limit(alarms.loop.time() + 2.0)
    with limit:
        await asyncio.sleep(1.0)
    await asyncio.sleep(5.0)
    assert not limit.expired


async def test_an_error_inside_the_block_is_not_taken_for_the_limit() -> None:
    alarms = Alarms()
    limit = alarms.limit(alarms.loop.time() + 2.0)
    with pytest.raises(TimeoutError, match="my own"), limit:
        raise TimeoutError("my own")
    assert not limit.expired


async def test_somebody_elses_cancel_stays_a_cancel_even_when_the_limit_passes_too() -> None:
    alarms = Alarms()

    async def work() -> None:
        with alarms.limit(alarms.loop.time() + 1.0):
            try:
                await asyncio.sleep(100.0)
            except asyncio.CancelledError:
                await asyncio.sleep(5.0)  # cleans up beyond the limit
                raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
