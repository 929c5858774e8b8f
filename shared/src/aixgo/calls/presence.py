"""Presence: which instances of which agents are alive now."""

from __future__ import annotations

from aixgo.broker.keyvalue import Bucket
from aixgo.broker.port import Broker
from aixgo.subjects import PRESENCE, Names


async def present(broker: Broker, names: Names) -> dict[str, list[str]]:
    """Return the instances that are alive now, by agent."""
    found: dict[str, list[str]] = {}
    for key in await Bucket(broker, names.bucket(PRESENCE)).keys():
        agent, _, instance = key.partition(".")
        if instance:  # another program may write other keys
            found.setdefault(agent, []).append(instance)
    return {agent: sorted(instances) for agent, instances in sorted(found.items())}
