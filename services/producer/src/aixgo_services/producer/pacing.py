"""Events at a steady interval."""

from __future__ import annotations

import asyncio
import logging
import math

from aixgo.clock import now
from aixgo.envelope import new_id
from aixgo_services.producer.events import ENDED, Source
from aixgo_services.producer.outlet import Outlet

log = logging.getLogger("aixgo.producer")


class Ticks:
    """Moments on a fixed grid of `interval` seconds; the first is now."""

    def __init__(self, agent: str, interval: float) -> None:
        self._agent, self._interval = agent, interval
        self._next = asyncio.get_running_loop().time()

    def until_next(self) -> float:
        """Return seconds until the next tick and go on to the one after it.

        A tick may be late by less than an interval; those that passed completely are left out.
        """
        moment = asyncio.get_running_loop().time()
        late = moment - self._next
        if self._interval and late >= self._interval:
            missed = math.floor(late / self._interval)
            self._next += missed * self._interval
            log.warning("producer.ticks_missed", extra={"agent": self._agent, "missed": missed})
        wait = max(0.0, self._next - moment)
        self._next += self._interval
        return wait


async def at_interval(outlet: Outlet, source: Source, interval: float, count: int) -> None:
    """Publish an event at every tick, until there are no more.

    Args:
        count: events after which it ends; 0 for no such end.
    """
    instance = new_id()
    ticks = Ticks(outlet.agent, interval)
    number = 0
    while not count or number < count:
        number += 1
        wait = ticks.until_next()
        event = source.at(number, now() + wait)
        if event is ENDED:
            return
        await outlet.sleep(wait)
        await outlet.publish(event, f"{instance}-{number}")
