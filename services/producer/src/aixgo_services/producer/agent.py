"""`Producer`: publishes events when they are due, until it has published enough or is stopped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from aixgo import Role
from aixgo.agents.role import Feed, Style
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo_services.producer.events import Listed, Source, Template, read_events
from aixgo_services.producer.options import ProducerOptions
from aixgo_services.producer.outlet import Outlet, Stopping
from aixgo_services.producer.pacing import at_interval

log = logging.getLogger("aixgo.producer")

DEFAULT_INTERVAL = 1.0
"""Seconds between two events when the agent declares neither `interval` nor `cron`."""


class Producer(Role):
    """Publishes an event at every tick of its `interval` or firing of its `cron`; cannot be called.

    An event that the broker cannot take now is tried again until it is stored, once. Ticks that
    pass meanwhile are logged and left out; no event is.
    """

    style: ClassVar[Style] = "reactive"
    options_model = ProducerOptions

    def __init__(self, spec: AgentSpec, options: ProducerOptions) -> None:
        super().__init__(spec, options)
        if options.cron and spec.interval is not None:
            raise ConfigError(
                f"agent {spec.name!r} has an interval and a cron expression; leave one of them out"
            )
        self._zone = options.zone
        self._work = self._schedule()

    def _schedule(self) -> Callable[[Outlet, Source], Awaitable[None]]:
        options, interval = self.options, self.spec.interval
        if not options.cron:
            seconds = DEFAULT_INTERVAL if interval is None else interval
            return partial(at_interval, interval=seconds, count=options.count)
        # imported here, before anything runs: only who has a schedule pays
        from aixgo_services.producer.cron import Cron
        from aixgo_services.producer.firings import at_firings

        return partial(
            at_firings,
            cron=Cron(options.cron, self._zone),
            count=options.count,
            missed=options.missed,
            most=options.missed_limit,
        )

    async def start(self, feed: Feed) -> None:
        """Publish until `count`, the end of the list, or `feed.stopping`."""
        outlet = Outlet(self.spec, feed, self.options.rate)
        with suppress(Stopping):
            await self._work(outlet, await self._source())
        log.info("producer.ended", extra={"agent": self.name, "published": outlet.published})

    async def _source(self) -> Source:
        options = self.options
        if options.template:
            return Template(options.template, self.name, self._zone)
        events = options.events
        if options.file:
            events = await read_events(Path(options.file))
        return Listed(events, again=options.cycle)
