"""`Producer`: publishes events when they are due, until it has published enough or is stopped."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar

from aixgo import Role
from aixgo.agents.role import Feed, Listening, Style
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo_services.producer.events import Listed, Source, Template, read_events
from aixgo_services.producer.options import ProducerOptions
from aixgo_services.producer.outlet import Outlet, Stopping
from aixgo_services.producer.pacing import at_interval
from aixgo_services.producer.subjects import from_messages

log = logging.getLogger("aixgo.producer")

DEFAULT_INTERVAL = 1.0
"""Seconds between two events when the agent declares neither `interval` nor `cron`."""

DEFAULT_POLL_INTERVAL = 60.0
"""The same between two polls of a server."""

Work = Callable[[Outlet], Awaitable[None]]


class Producer(Role):
    """Publishes events: at a pace or a schedule, what is new on a server, other systems' messages.

    It cannot be called. An event that the broker cannot take now is tried again until it is stored.
    With a schedule, a server or a stream each event is one, over instances, restarts and deaths.
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
        if options.subject and spec.interval is not None:
            raise ConfigError(
                f"agent {spec.name!r} has an interval, and messages of {options.subject!r} come as "
                "they do; leave the interval out, or bound them with `rate`"
            )
        if options.subject:
            (to,) = self.listens()
            self._work: Work = partial(from_messages, to=to, count=options.count)
        else:
            self._work = self._polling() if options.http is not None else self._publishing()

    def _publishing(self) -> Work:
        """Return what publishes events of its own when they are due."""
        options, interval = self.options, self.spec.interval
        if not options.cron:
            seconds = DEFAULT_INTERVAL if interval is None else interval
            timed = partial(at_interval, interval=seconds, count=options.count)
        else:
            # imported here, before anything runs: only who has a schedule pays
            from aixgo_services.producer.cron import Cron
            from aixgo_services.producer.firings import at_firings

            timed = partial(
                at_firings,
                cron=Cron(options.cron, self._zone),
                count=options.count,
                missed=options.missed,
                most=options.missed_limit,
            )

        async def work(outlet: Outlet) -> None:
            await timed(outlet, await self._source())

        return work

    def _polling(self) -> Work:
        """Return what asks a server."""
        from aixgo_services.producer.pages import Pages
        from aixgo_services.producer.polling import Every, Polling, Schedule

        options, interval = self.options, self.spec.interval
        schedule: Schedule
        if options.cron:
            from aixgo_services.producer.cron import Cron

            schedule = Cron(options.cron, self._zone)
        elif interval == 0:
            raise ConfigError(
                f"agent {self.name!r}: an interval of 0 asks the server without a pause; give it "
                "some time, such as 30s"
            )
        else:
            schedule = Every(DEFAULT_POLL_INTERVAL if interval is None else interval)
        pages = Pages(self.name, options.http)
        by_id, count = bool(options.http.id), options.count
        return Polling(self.spec, pages, schedule, by_id=by_id, count=count).run

    def listens(self) -> tuple[Listening, ...]:
        """See `Role.listens`."""
        options = self.options
        if not options.subject:
            return ()
        return (
            Listening(
                subject=options.subject,
                stream=options.stream,
                deliver=options.deliver,
                buffer=options.buffer,
            ),
        )

    async def start(self, feed: Feed) -> None:
        """Publish until `count`, the end of the events, or `feed.stopping`."""
        outlet = Outlet(self.spec, feed, self.options.rate)
        with suppress(Stopping):
            await self._work(outlet)
        log.info("producer.ended", extra={"agent": self.name, "published": outlet.published})

    async def _source(self) -> Source:
        options = self.options
        if options.template:
            return Template(options.template, self.name, self._zone)
        events = options.events
        if options.file:
            events = await read_events(Path(options.file))
        return Listed(events, again=options.cycle)
