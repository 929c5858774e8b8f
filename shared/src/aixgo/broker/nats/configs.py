"""Declarations as JetStream writes them: `StreamConfig` and `ConsumerConfig` ↔ JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from aixgo.broker.port import ConsumerConfig, StreamConfig

NANO = 1_000_000_000

_STREAM_FIELDS = {
    "name": "name",
    "retention": "retention",
    "storage": "storage",
    "discard": "discard",
    "discard_new_per_subject": "discard_new_per_subject",
    "allow_direct": "allow_direct",
    "allow_rollup": "allow_rollup_hdrs",
    "allow_ttl": "allow_msg_ttl",
    "allow_schedules": "allow_msg_schedules",
    "deny_delete": "deny_delete",
    "deny_purge": "deny_purge",
    "replicas": "num_replicas",
    "description": "description",
}
"""Fields that are the same on both sides but for the name."""

_STREAM_LIMITS = {
    "max_bytes": "max_bytes",
    "max_messages": "max_msgs",
    "max_messages_per_subject": "max_msgs_per_subject",
    "max_message_size": "max_msg_size",
}
"""No limit is 0 here and -1 there."""

_STREAM_SECONDS = {
    "max_age": "max_age",
    "duplicate_window": "duplicate_window",
    "marker_ttl": "subject_delete_marker_ttl",
}
"""Seconds here, nanoseconds there."""

_CONSUMER_FIELDS = {
    "name": "name",
    "max_deliver": "max_deliver",
    "max_ack_pending": "max_ack_pending",
    "max_waiting": "max_waiting",
    "description": "description",
}


def nanoseconds(seconds: float) -> int:
    """Return seconds as the integer that the server stores, exact to a microsecond."""
    return round(seconds * 1_000_000) * 1000


def unix_time(text: str) -> float:
    """Return an RFC 3339 time of the server, with its nanoseconds, as Unix seconds."""
    seconds, point, fraction = text.removesuffix("Z").partition(".")
    if not point or not text.endswith("Z"):
        return datetime.fromisoformat(text).timestamp()
    whole = int(datetime.fromisoformat(f"{seconds}Z").timestamp())
    return (whole * NANO + int(fraction.ljust(9, "0"))) / NANO


def stream_to_json(config: StreamConfig) -> dict[str, Any]:
    """Return a declaration as JetStream writes it, with what the server would add to it.

    A duplicate window over `max_age` is refused by the server and means nothing, so it is cut.
    """
    document: dict[str, Any] = {
        "subjects": list(config.subjects),
        "max_consumers": -1,
        "republish": None,
    }
    for ours, theirs in _STREAM_FIELDS.items():
        document[theirs] = getattr(config, ours)
    for ours, theirs in _STREAM_LIMITS.items():
        document[theirs] = getattr(config, ours) or -1
    for ours, theirs in _STREAM_SECONDS.items():
        document[theirs] = nanoseconds(getattr(config, ours))
    if config.max_age:
        document["duplicate_window"] = min(document["duplicate_window"], document["max_age"])
    if config.marker_ttl or config.allow_schedules:
        document["allow_rollup_hdrs"] = True
    if config.persist != "default":
        document["persist_mode"] = config.persist
    if config.republish is not None:
        source, destination = config.republish
        document["republish"] = {"src": source, "dest": destination}
    return document


def stream_from_json(document: Mapping[str, Any]) -> StreamConfig:
    """Return a stream's configuration as a declaration."""
    values: dict[str, Any] = {"subjects": tuple(document.get("subjects") or ())}
    for ours, theirs in _STREAM_FIELDS.items():
        if theirs in document:
            values[ours] = document[theirs]
    for ours, theirs in _STREAM_LIMITS.items():
        values[ours] = max(document.get(theirs, 0), 0)
    for ours, theirs in _STREAM_SECONDS.items():
        values[ours] = document.get(theirs, 0) / NANO
    for switch in ("allow_direct", "allow_rollup", "allow_ttl", "allow_schedules"):
        values.setdefault(switch, False)  # the server leaves out what is off
    values["persist"] = document.get("persist_mode") or "default"
    republish = document.get("republish")
    if republish:
        values["republish"] = (republish.get("src", ">"), republish["dest"])
    return StreamConfig(**values)


def consumer_to_json(config: ConsumerConfig) -> dict[str, Any]:
    """Return a declaration as JetStream writes it."""
    document: dict[str, Any] = {
        "durable_name": config.name,
        "filter_subjects": list(config.filters),
        "deliver_policy": config.deliver,
        "ack_policy": "explicit",
        "ack_wait": nanoseconds(config.ack_wait),
        "replay_policy": "instant",
    }
    for ours, theirs in _CONSUMER_FIELDS.items():
        document[theirs] = getattr(config, ours)
    return document


def consumer_from_json(document: Mapping[str, Any]) -> ConsumerConfig:
    """Return a consumer's configuration as a declaration."""
    one = document.get("filter_subject")
    values: dict[str, Any] = {
        "name": document.get("name") or document.get("durable_name", ""),
        "filters": tuple(document.get("filter_subjects") or ([one] if one else ())),
        "deliver": "new" if document.get("deliver_policy") == "new" else "all",
        "ack_wait": document.get("ack_wait", 0) / NANO,
    }
    for ours, theirs in _CONSUMER_FIELDS.items():
        if ours != "name" and theirs in document:
            values[ours] = document[theirs]
    return ConsumerConfig(**values)


def differences(
    standing: StreamConfig | ConsumerConfig,
    wanted: StreamConfig | ConsumerConfig,
    settled: StreamConfig | ConsumerConfig,
) -> dict[str, tuple[object, object]]:
    """Return field → (standing, wanted) where they differ.

    Args:
        settled: the declaration as the server would keep it; what stands as settled is no change.
    """
    changed: dict[str, tuple[object, object]] = {}
    for declared in fields(wanted):
        old, new = getattr(standing, declared.name), getattr(wanted, declared.name)
        if _same(old, new) or _same(old, getattr(settled, declared.name)):
            continue
        changed[declared.name] = (old, new)
    return changed


def _same(old: object, new: object) -> bool:
    if isinstance(old, float) and isinstance(new, int | float):
        return abs(old - new) < 1e-5
    return old == new
