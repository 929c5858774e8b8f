"""Events at the firings of a cron expression, each once whatever the number of instances."""

from __future__ import annotations

import logging

import msgspec

from aixgo.clock import now, rfc3339
from aixgo_services.producer.cron import Cron
from aixgo_services.producer.events import ENDED, Source
from aixgo_services.producer.options import Missed
from aixgo_services.producer.outlet import Outlet

log = logging.getLogger("aixgo.producer")

LATE_SECONDS = 60.0
"""By which a firing may be late and still be on time: a restart, or a broker that was away for a
moment. Older ones were missed."""

LONGEST_SLEEP_SECONDS = 600.0
"""Between two looks at the clock, which may be set meanwhile."""


class Fired(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="cron"):
    """What the instances of an agent with a schedule remember.

    Attributes:
        until: Unix seconds; firings up to here are dealt with.
        number: of the last event.
    """

    until: float
    number: int = 0


async def at_firings(
    outlet: Outlet, source: Source, cron: Cron, count: int, missed: Missed, most: int
) -> None:
    """Publish an event at every firing, once whatever the number of instances.

    Each instance publishes the same event under the same key and then remembers the firing; the
    first one wins both. An instance that dies between the two leaves an event that is published
    again as the same one.

    Args:
        count: events after which it ends; 0 for no such end.
        missed: what is published of firings at which no instance was there.
        most: of those that are published with `all`.
    """
    while True:
        fired, revision = await outlet.recall(Fired)
        if fired is None:  # the first start: nothing was missed before it
            await outlet.remember(Fired(until=now()), revision)
            continue
        if count and fired.number >= count:
            return
        moment = now()
        due = _due(outlet.agent, cron, fired.until, moment, missed, most)
        if not due:
            if cron.after(fired.until) <= moment:  # all of them are left out
                await outlet.remember(msgspec.structs.replace(fired, until=moment), revision)
                continue
            wait = cron.after(moment) - moment
            await outlet.sleep(min(wait, LONGEST_SLEEP_SECONDS))
            continue
        number = fired.number + 1
        event = source.at(number, due[0])
        if event is ENDED:
            return
        await outlet.publish(event, rfc3339(due[0]), {"due": rfc3339(due[0])})
        await outlet.remember(Fired(until=due[0], number=number), revision)


def _due(
    agent: str, cron: Cron, since: float, moment: float, missed: Missed, most: int
) -> list[float]:
    """Return the firings to publish now, the oldest first."""
    firings, more = cron.newest(since, moment, most if missed == "all" else 1)
    if not firings:
        return []
    if missed == "skip" and moment - firings[-1] > LATE_SECONDS:
        firings, more = [], True
    if more:
        log.warning(
            "producer.firings_missed",
            extra={"agent": agent, "since": rfc3339(since), "missed": missed},
        )
    return firings
