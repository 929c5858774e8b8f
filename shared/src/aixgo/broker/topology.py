"""Every stream, consumer and bucket of a namespace, declared in one place.

`provision` brings a broker to the declaration and says what it changed. `App` does it itself where
it may (memory, embedded, development); deployed services only bind to what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from aixgo.broker.keyvalue import bucket_stream
from aixgo.broker.objects import store_stream
from aixgo.broker.port import Broker, Change, ConsumerConfig, StreamConfig
from aixgo.config.retention import RESULTS_BYTES
from aixgo.errors import ConfigError
from aixgo.subjects import (
    BLOBS,
    CALLS,
    DLQ,
    EVENTS,
    FEEDS,
    HISTORY,
    LEASES,
    PARKED,
    PRESENCE,
    RESULTS,
    SESSIONS,
    TIMERS,
    TOKENS,
    Names,
)

MIB = 1024 * 1024
DAY = 86_400.0

ACK_WAIT_SECONDS = 30.0
"""Takeover time after a worker dies; heartbeats every third of it keep a delivery."""

PRESENCE_TTL_SECONDS = 15
"""An instance that is not renewed for this time is gone; renewed every third of it."""


@dataclass(frozen=True, kw_only=True)
class ForeignStream:
    """A stream of another system that an agent reads; the stream itself is not declared here.

    Attributes:
        stream: its name on the server.
        subject: filter of what is read.
        deliver: whether it begins with what the stream keeps already, or what comes from now on.
    """

    stream: str
    subject: str
    deliver: Literal["all", "new"] = "all"


@dataclass(frozen=True, kw_only=True)
class AgentNeeds:
    """What an agent asks of the broker.

    Attributes:
        name: of the agent.
        concurrency: calls that all instances together may hold; the consumer's `max_ack_pending`.
        sources: agents whose events it handles.
        foreign: streams of other systems whose messages it takes.
        ack_wait: seconds after which an unanswered delivery goes to another instance.
    """

    name: str
    concurrency: int = 64
    sources: tuple[str, ...] = ()
    foreign: tuple[ForeignStream, ...] = ()
    ack_wait: float = ACK_WAIT_SECONDS


def streams(
    names: Names,
    *,
    replicas: int = 1,
    results_bytes: int = RESULTS_BYTES,
    power_safe: bool = False,
) -> list[StreamConfig]:
    """Return the streams, buckets and object stores of a namespace.

    A server reserves what `max_bytes` says: 2.8 GB of file storage and 32 MB of memory together.

    Args:
        results_bytes: room for results, bytes.
        power_safe: for a server that syncs every write (`sync_interval: always`): CALLS is written
            behind, and what must not be lost with it is noted in RESULTS (`calls.call_notes`).

    Raises:
        ConfigError: `power_safe` with replicas.
    """
    if power_safe and replicas > 1:
        raise ConfigError(
            f"power_safe with {replicas} replicas: a server writes behind only what has one copy. "
            "Leave one of them out; several copies survive the power loss of one server anyway"
        )
    p = names.prefix
    declared = [
        StreamConfig(
            name=names.stream(CALLS),
            subjects=(f"{p}call.>",),
            retention="workqueue",
            discard="new",
            max_bytes=256 * MIB,
            max_message_size=MIB // 2,
            duplicate_window=300.0,
            allow_ttl=True,
            persist="async" if power_safe else "default",
            description="calls waiting for a worker",
        ),
        StreamConfig(
            name=names.stream(RESULTS),
            subjects=(f"{p}res.>", f"{p}run.>", f"{p}state.>"),
            discard="new",
            max_bytes=results_bytes,
            max_messages_per_subject=1,
            # no age: a run that is not over needs its results, however old it is; see
            # `calls.upkeep.retention`
            republish=(f"{p}res.>", f"{p}live.res.>"),
            description="the one result of every step; the first wins. And accepted calls, state",
        ),
        StreamConfig(
            name=names.stream(HISTORY),
            subjects=(f"{p}hist.>",),
            max_bytes=512 * MIB,
            max_age=30 * DAY,
            republish=(f"{p}hist.>", f"{p}live.hist.>"),
            description="what happened in every run, for people",
        ),
        StreamConfig(
            name=names.stream(TOKENS),
            subjects=(f"{p}tok.>",),
            storage="memory",
            max_bytes=32 * MIB,
            max_messages_per_subject=20_000,
            max_age=600.0,
            description="streamed tokens; the result is the truth",
        ),
        StreamConfig(
            name=names.stream(EVENTS),
            subjects=(f"{p}evt.>",),
            # what no subscriber needs goes when room is short: `calls.upkeep.handled`
            discard="new",
            max_bytes=256 * MIB,
            max_age=7 * DAY,
            duplicate_window=300.0,
            description="facts that agents publish",
        ),
        StreamConfig(
            name=names.stream(TIMERS),
            # no limit of its own: the server refuses schedules together with discard=new, and
            # discard=old would drop a timer silently; what fired expires by its TTL
            subjects=(f"{p}timer.>", f"{p}wake.>"),
            allow_ttl=True,
            allow_schedules=True,
            description="durable timers: a schedule in timer.… fires into wake.…",
        ),
        StreamConfig(
            name=names.stream(DLQ),
            subjects=(f"{p}dlq.>",),
            discard="new",
            max_bytes=256 * MIB,
            max_age=30 * DAY,
            description="what could not be handled, with its cause",
        ),
        StreamConfig(
            name=names.stream(SESSIONS),
            # no age: what expires goes as whole conversations, `calls.upkeep.sessions`
            subjects=(f"{p}ses.>",),
            discard="new",
            max_bytes=512 * MIB,
            allow_rollup=True,
            description="conversations of agents, one for each session",
        ),
        bucket_stream(
            names.bucket(PRESENCE), ttl_per_key=True, description="instances that are alive"
        ),
        bucket_stream(names.bucket(LEASES), ttl_per_key=True, description="leases of calls"),
        bucket_stream(names.bucket(PARKED), description="calls that wait for a person or a timer"),
        bucket_stream(names.bucket(FEEDS), description="how far each producer of events is"),
        store_stream(names.bucket(BLOBS), max_age=31 * DAY, description="large payloads"),
    ]
    if replicas == 1:
        return declared
    return [replace(stream, replicas=replicas) for stream in declared]


def consumers(names: Names, agents: Iterable[AgentNeeds]) -> list[tuple[str, ConsumerConfig]]:
    """Return (stream, consumer) for every agent: its calls, its timers, its sources."""
    declared: list[tuple[str, ConsumerConfig]] = []
    for agent in agents:
        declared.append(
            (
                names.stream(CALLS),
                ConsumerConfig(
                    name=agent.name,
                    filters=(names.calls_of(agent.name),),
                    ack_wait=agent.ack_wait,
                    max_ack_pending=agent.concurrency,
                ),
            )
        )
        declared.append(
            (
                names.stream(TIMERS),
                ConsumerConfig(name=agent.name, filters=(names.wakes_of(agent.name),)),
            )
        )
        if agent.sources:
            declared.append(
                (
                    names.stream(EVENTS),
                    ConsumerConfig(
                        name=agent.name,
                        filters=tuple(names.event(source) for source in sorted(agent.sources)),
                        ack_wait=agent.ack_wait,
                        max_ack_pending=agent.concurrency,
                    ),
                )
            )
        declared += [
            (
                foreign.stream,
                ConsumerConfig(
                    name=names.foreign_consumer(agent.name),
                    filters=(foreign.subject,),
                    deliver=foreign.deliver,
                    ack_wait=agent.ack_wait,
                    description=f"events of the agent {agent.name}",
                ),
            )
            for foreign in agent.foreign
        ]
    return declared


async def provision(
    broker: Broker,
    names: Names,
    agents: Sequence[AgentNeeds] = (),
    *,
    replicas: int = 1,
    results_bytes: int = RESULTS_BYTES,
    power_safe: bool = False,
) -> list[Change]:
    """Create or update everything that is declared; returns one change for each, in order.

    Raises:
        ConfigError: `power_safe` with replicas.
        StreamRefused: what stands cannot be changed so, such as `power_safe`.
    """
    declared = streams(names, replicas=replicas, results_bytes=results_bytes, power_safe=power_safe)
    changes = [await broker.ensure_stream(stream) for stream in declared]
    for stream, consumer in consumers(names, agents):
        changes.append(await broker.ensure_consumer(stream, consumer))
    return changes
