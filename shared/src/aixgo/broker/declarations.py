"""Declarations of streams and consumers, and what a broker says of their state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """Declaration of a stream. 0 means no limit; field names follow NATS.

    `republish` copies what is stored to other subjects: (source filter, destination), both ending
    in the same wildcard tail. With `persist` `async` an append is acknowledged before it is written
    to the disk, so a server that dies forgets the newest ones; a stream is created with it or
    without, and it is not for replicated streams or those in memory.
    """

    name: str
    subjects: tuple[str, ...]
    retention: Literal["limits", "workqueue"] = "limits"
    storage: Literal["file", "memory"] = "file"
    discard: Literal["old", "new"] = "old"
    discard_new_per_subject: bool = False
    max_bytes: int = 0
    max_messages: int = 0
    max_messages_per_subject: int = 0
    max_message_size: int = 0
    max_age: float = 0.0
    duplicate_window: float = 120.0
    allow_direct: bool = True
    allow_rollup: bool = False
    allow_ttl: bool = False
    allow_schedules: bool = False
    marker_ttl: float = 0.0
    deny_delete: bool = False
    deny_purge: bool = False
    replicas: int = 1
    persist: Literal["default", "async"] = "default"
    republish: tuple[str, str] | None = None
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ConsumerConfig:
    """Declaration of a durable pull consumer with explicit acknowledgement.

    `max_deliver` and `max_ack_pending` of -1 mean no limit. `filters` empty means everything.
    `deliver` says whether it begins with what the stream keeps already, or after its declaration.
    """

    name: str
    filters: tuple[str, ...] = ()
    deliver: Literal["all", "new"] = "all"
    ack_wait: float = 30.0
    max_deliver: int = -1
    max_ack_pending: int = 1000
    max_waiting: int = 512
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a declaration did: `created`, `updated` (with field → (old, new)) or `unchanged`."""

    what: str
    action: Literal["created", "updated", "unchanged"]
    fields: Mapping[str, tuple[object, object]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """State of a stream at this moment."""

    config: StreamConfig
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    consumers: int


@dataclass(frozen=True, kw_only=True)
class ConsumerInfo:
    """State of a consumer: queued, delivered but unanswered, idle pulls, redelivered.

    Everything up to the sequence `ack_floor` is answered.
    """

    stream: str
    config: ConsumerConfig
    pending: int
    ack_pending: int
    waiting: int
    redelivered: int
    ack_floor: int = 0
    paused_until: float | None = None
