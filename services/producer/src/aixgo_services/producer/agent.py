"""`Producer`: publishes events at a steady pace until it has published enough or is stopped."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from aixgo import Role
from aixgo.agents.role import Feed, Style
from aixgo.calls.retry import backoff
from aixgo.config.agents import AgentSpec, Options
from aixgo.envelope import new_id
from aixgo.errors import AixgoError
from aixgo_services.producer.events import (
    FIELDS,
    listed,
    read_events,
    rendered,
    unknown_fields,
)

log = logging.getLogger("aixgo.producer")

DEFAULT_INTERVAL = 1.0
"""Seconds between two events when the agent declares no `interval`."""


class ProducerOptions(Options):
    """What a producer publishes: exactly one of `template`, `events` and `file`."""

    template: str = ""
    """Text of every event, with `{n}`, `{time}` and `{uuid}` filled in."""
    events: tuple[Any, ...] = ()
    """Events in order; each is text or any JSON value."""
    file: str = ""
    """Path of a file whose lines are the events: JSON values when it ends in `.jsonl`, else text;
    relative to the directory of the process. Read when the agent starts."""
    cycle: bool = False
    """Begin again when `events` or the lines of `file` are used up, instead of ending."""
    count: int = Field(default=0, ge=0)
    """Events after which it ends; 0 for no such end."""

    @field_validator("template")
    @classmethod
    def _fields_are_known(cls, template: str) -> str:
        unknown = unknown_fields(template)
        if unknown:
            raise ValueError(
                f"the template names {{{unknown[0]}}}; known are "
                f"{', '.join(f'{{{name}}}' for name in FIELDS)}"
            )
        return template

    @model_validator(mode="after")
    def _one_source(self) -> ProducerOptions:
        given = [name for name in ("template", "events", "file") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"a producer has exactly one of template, events and file, not "
                f"{' and '.join(given) or 'none'}; leave one"
            )
        if self.cycle and self.template:
            raise ValueError("cycle belongs to events and file; a template never ends by itself")
        return self


class Producer(Role):
    """Publishes an event at every tick of its `interval`; refuses to be called.

    Ticks lie on a fixed grid, so they do not drift. An event that the broker cannot take now is
    tried again until it is stored, once. Ticks that pass meanwhile are logged and left out; no
    event is.
    """

    style: ClassVar[Style] = "reactive"
    options_model = ProducerOptions

    def __init__(self, spec: AgentSpec, options: ProducerOptions) -> None:
        super().__init__(spec, options)
        self._interval = DEFAULT_INTERVAL if spec.interval is None else spec.interval

    async def start(self, feed: Feed) -> None:
        """Publish until `count`, the end of the list, or `feed.stopping`."""
        instance = new_id()
        published = 0
        ticks = Ticks(self.name, self._interval)
        for event in await self._events():
            if self.options.count and published == self.options.count:
                break
            if not await feed.sleep(ticks.until_next()):
                break
            if not await self._publish(feed, event, f"{instance}-{published + 1}"):
                break
            published += 1
        log.info("producer.ended", extra={"agent": self.name, "published": published})

    async def _events(self) -> Iterator[Any]:
        options = self.options
        if options.template:
            return rendered(options.template)
        events = options.events
        if options.file:
            events = await asyncio.to_thread(read_events, Path(options.file))
        return listed(events, again=options.cycle)

    async def _publish(self, feed: Feed, event: Any, key: str) -> bool:
        """Publish until it is stored; False when the agent should stop first.

        The `key` makes a second try after a lost acknowledgement harmless.
        """
        attempt = 0
        while True:
            try:
                await feed.emit(event, key=key)
            except AixgoError as error:
                if not error.retryable:
                    raise
                attempt += 1
                delay = backoff(self.spec.retry, attempt)
                log.warning(
                    "producer.delayed",
                    extra={
                        "agent": self.name,
                        "error": error.code,
                        "attempt": attempt,
                        "retry_in": delay,
                    },
                )
                if not await feed.sleep(delay):
                    log.warning("producer.unpublished", extra={"agent": self.name, "key": key})
                    return False
            else:
                return True


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
