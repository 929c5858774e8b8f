"""Which declarations of streams and consumers hold, and which changes to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import combinations

from aixgo.broker.memory.matching import check_filter, overlap
from aixgo.broker.port import ConsumerConfig, StreamConfig
from aixgo.errors import BadSubject, ConsumerConflict, StreamRefused

_NAME = re.compile(r"[^\s.*>/\\]{1,255}")

SHORTEST_SECONDS = 0.1
"""Least `max_age` and `duplicate_window`, as on a nats-server."""

_LIMITS = (
    "max_bytes",
    "max_messages",
    "max_messages_per_subject",
    "max_message_size",
    "max_age",
    "duplicate_window",
    "marker_ttl",
)
_FIXED_OF_STREAM = ("storage", "persist")
_NEVER_OFF = ("allow_ttl", "allow_schedules", "deny_delete", "deny_purge")
_FIXED_OF_CONSUMER = ("deliver", "max_waiting")


def changes(old: object, new: object) -> Mapping[str, tuple[object, object]]:
    """Return field → (old, new) for the fields in which two declarations differ."""
    pairs = {
        field.name: (getattr(old, field.name), getattr(new, field.name))
        for field in fields(new)  # type: ignore[arg-type]  # both are one of the two dataclasses
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def check_stream(config: StreamConfig, others: Iterable[StreamConfig]) -> None:
    """Raise StreamRefused unless the stream can be declared beside the others."""
    name = config.name
    if not _NAME.fullmatch(name):
        raise StreamRefused(
            f"stream name {name!r} has a space, '.', '*', '>' or a slash, or not 1 to 255 "
            "characters; use letters, digits, '_' and '-'"
        )
    _check_subjects(config, others)
    for field in _LIMITS:
        if getattr(config, field) < 0:
            raise StreamRefused(
                f"stream {name!r}: {field} is {getattr(config, field)!r}; 0 means no limit"
            )
    if config.discard_new_per_subject and (
        config.discard != "new" or not config.max_messages_per_subject
    ):
        raise StreamRefused(
            f"stream {name!r}: discard_new_per_subject needs discard='new' and "
            "max_messages_per_subject"
        )
    if config.allow_rollup and config.deny_purge:
        raise StreamRefused(
            f"stream {name!r}: allow_rollup removes records, which deny_purge forbids; drop one"
        )
    if config.allow_schedules and config.discard == "new":
        raise StreamRefused(
            f"stream {name!r}: allow_schedules needs discard='old', because a schedule that is due "
            "must find room"
        )
    _check_times(config)
    # this broker has nothing to persist, but what a server refuses must not pass here
    if config.persist == "async" and (config.storage == "memory" or config.replicas > 1):
        raise StreamRefused(
            f"stream {name!r}: persist='async' with storage={config.storage!r} and "
            f"{config.replicas} replicas; it is for one copy in a file"
        )
    if not 1 <= config.replicas <= 5:
        raise StreamRefused(f"stream {name!r}: replicas is {config.replicas}; it must be 1 to 5")


def _check_times(config: StreamConfig) -> None:
    name = config.name
    for field in ("max_age", "duplicate_window"):
        if 0 < getattr(config, field) < SHORTEST_SECONDS:
            raise StreamRefused(
                f"stream {name!r}: {field} is {getattr(config, field):g} s; give at least "
                f"{SHORTEST_SECONDS:g} s"
            )
    if config.max_age and config.duplicate_window > config.max_age:
        raise StreamRefused(
            f"stream {name!r}: duplicate_window of {config.duplicate_window:g} s is longer than "
            f"max_age of {config.max_age:g} s; make it at most that"
        )
    if config.marker_ttl and config.marker_ttl < 1:
        raise StreamRefused(
            f"stream {name!r}: marker_ttl is {config.marker_ttl:g} s; give at least 1 s"
        )


def _check_subjects(config: StreamConfig, others: Iterable[StreamConfig]) -> None:
    if not config.subjects:
        raise StreamRefused(f"stream {config.name!r} has no subjects; give it at least one")
    for pattern in (*config.subjects, *(config.republish or ())):
        try:
            check_filter(pattern)
        except BadSubject as error:
            raise StreamRefused(f"stream {config.name!r}: {error}") from error
    for one, two in combinations(config.subjects, 2):
        if overlap(one, two):
            raise StreamRefused(
                f"stream {config.name!r}: its subjects {one!r} and {two!r} overlap; drop one"
            )
    for other in others:
        for theirs in other.subjects:
            for mine in config.subjects:
                if overlap(mine, theirs):
                    raise StreamRefused(
                        f"stream {config.name!r}: subject {mine!r} overlaps {theirs!r} of stream "
                        f"{other.name!r}; a subject is kept by one stream"
                    )
    if config.republish is not None:
        source, destination = config.republish
        if _tail(source) != _tail(destination):
            raise StreamRefused(
                f"stream {config.name!r}: republish {source!r} to {destination!r}; both must end "
                "in the same wildcard"
            )
        if any(overlap(destination, mine) for mine in config.subjects):
            raise StreamRefused(
                f"stream {config.name!r}: republish destination {destination!r} is a subject of "
                "the stream itself and would never end; choose another"
            )


def _tail(pattern: str) -> str:
    last = pattern.rsplit(".", 1)[-1]
    return last if last in ("*", ">") else ""


def check_stream_change(old: StreamConfig, new: StreamConfig) -> None:
    """Raise StreamRefused if the change is one that a stream cannot make."""
    changed = changes(old, new)
    fixed = [name for name in _FIXED_OF_STREAM if name in changed]
    fixed += [name for name in _NEVER_OFF if name in changed and getattr(old, name)]
    if "retention" in changed and "workqueue" in changed["retention"]:
        fixed.append("retention")
    if fixed:
        told = ", ".join(f"{name} {changed[name][0]!r} → {changed[name][1]!r}" for name in fixed)
        raise StreamRefused(
            f"stream {old.name!r} cannot change {told}; delete it (with all it keeps) and declare "
            "it anew"
        )


def check_consumer(
    stream: StreamConfig, config: ConsumerConfig, others: Iterable[ConsumerConfig]
) -> None:
    """Raise ConsumerConflict unless the consumer can be declared beside the others."""
    name = f"consumer {config.name!r} of stream {stream.name!r}"
    if not _NAME.fullmatch(config.name):
        raise ConsumerConflict(
            f"{name}: the name has a space, '.', '*', '>' or a slash, or not 1 to 255 characters"
        )
    for pattern in config.filters:
        try:
            check_filter(pattern)
        except BadSubject as error:
            raise ConsumerConflict(f"{name}: {error}") from error
    for one, two in combinations(config.filters, 2):
        if overlap(one, two):
            raise ConsumerConflict(f"{name}: its filters {one!r} and {two!r} overlap; drop one")
    if config.ack_wait <= 0 or config.max_waiting < 1:
        raise ConsumerConflict(
            f"{name}: ack_wait is {config.ack_wait:g} s and max_waiting {config.max_waiting}; "
            "both must be above 0"
        )
    for field in ("max_deliver", "max_ack_pending"):
        if getattr(config, field) < -1 or getattr(config, field) == 0:
            raise ConsumerConflict(
                f"{name}: {field} is {getattr(config, field)}; give at least 1, or -1 for no limit"
            )
    if stream.retention == "workqueue":
        _check_queue(name, config, others)


def _check_queue(name: str, config: ConsumerConfig, others: Iterable[ConsumerConfig]) -> None:
    if config.deliver != "all":
        raise ConsumerConflict(
            f"{name}: deliver is {config.deliver!r}, but a work queue delivers everything; "
            "use deliver='all'"
        )
    for other in others:
        for theirs in other.filters or (">",):
            for mine in config.filters or (">",):
                if overlap(mine, theirs):
                    raise ConsumerConflict(
                        f"{name}: filter {mine!r} overlaps {theirs!r} of consumer "
                        f"{other.name!r}; in a work queue each message has one consumer"
                    )


def check_consumer_change(stream: str, old: ConsumerConfig, new: ConsumerConfig) -> None:
    """Raise ConsumerConflict if the change is one that a consumer cannot make."""
    changed = changes(old, new)
    fixed = [name for name in _FIXED_OF_CONSUMER if name in changed]
    if fixed:
        told = ", ".join(f"{name} {changed[name][0]!r} → {changed[name][1]!r}" for name in fixed)
        raise ConsumerConflict(
            f"consumer {old.name!r} of stream {stream!r} cannot change {told}; delete it and "
            "declare it anew"
        )
