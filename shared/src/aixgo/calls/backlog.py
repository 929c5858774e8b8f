"""How far behind the subscribers of events are."""

from __future__ import annotations

from dataclasses import dataclass

from aixgo.broker.port import ConsumerInfo, Record
from aixgo.calls.space import Space
from aixgo.subjects import EVENTS


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one subscriber has not handled.

    Attributes:
        agent: the subscriber.
        sources: whose events it handles.
        events: not handled: waiting, at work, or waiting for another attempt.
        first: sequence in EVENTS of the oldest of them.
        since: Unix seconds at which that was published.
    """

    agent: str
    sources: tuple[str, ...]
    events: int
    first: int
    since: float


async def backlogs(space: Space) -> list[Backlog]:
    """Return the subscribers that have events left to handle, by name.

    Raises:
        StreamNotFound: EVENTS is not provisioned.
        PermissionDenied: this user may not look at its consumers.
    """
    broker, stream = space.broker, space.names.stream(EVENTS)
    found = []
    for name in await broker.consumer_names(stream):
        info = await broker.consumer_info(stream, name)
        if info is not None and (info.pending or info.ack_pending):
            backlog = await _backlog(space, info)
            if backlog is not None:
                found.append(backlog)
    return found


async def _backlog(space: Space, info: ConsumerInfo) -> Backlog | None:
    """Return what a consumer has left; None if it has caught up meanwhile."""
    oldest: list[Record] = []
    filters = info.config.filters or (f"{space.names.prefix}evt.>",)
    for one in filters:
        # up to the floor all is answered, so the first after it is what is waited for
        oldest += await space.broker.read(info.stream, one, start=info.ack_floor + 1, limit=1)
    if not oldest:
        return None
    first = min(oldest, key=lambda record: record.sequence)
    return Backlog(
        agent=info.config.name,
        sources=tuple(map(space.names.source, info.config.filters)),
        events=info.pending + info.ack_pending,
        first=first.sequence,
        since=first.time,
    )
