"""Where a system runs: the `deployment:` section of a document."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from aixgo.config.agents import Options
from aixgo.config.servers import Access, parse_servers, shown
from aixgo.errors import ConfigError

IN_PROCESS = ("memory", "embedded")
"""Brokers that a command brings along; any other is an address of a server."""


def checked_broker(value: str) -> str:
    """Return the broker's name or address.

    Raises:
        ValueError: it is neither `memory`, `embedded` nor an address; shows how to write one.
    """
    if value in IN_PROCESS:
        return value
    if not value.startswith(("nats://", "tls://")):
        raise ValueError(
            f"{shown(value)!r:.80} is not a broker; write `memory`, `embedded` or an address such "
            "as nats://localhost:4222 (several separated by commas)"
        )
    try:
        parse_servers(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return value


class Deployment(Options):
    """Where a system runs."""

    mode: Literal["local", "distributed"] = "local"
    """`local`: all agents in one process. `distributed`: agents are services on a NATS server, and
    `aixgo run` is a client of them."""
    broker: str = "memory"
    """`memory` (in the process), `embedded` (a nats-server of its own) or the address of a
    nats-server."""
    access: Access = Field(default_factory=Access)
    """How services and clients sign in to the nats-server; what is left out comes from the
    variables `AIXGO_NATS_…`."""
    power_safe: bool = False
    """For a server with `sync_interval: always`: each write waits for the disk. Calls are then
    written behind, and only what must not be lost is noted first: less than half of the waiting,
    and the same safety. It is chosen when the streams are created; not for replicas."""

    @field_validator("broker")
    @classmethod
    def _known(cls, value: str) -> str:
        return checked_broker(value)

    @model_validator(mode="after")
    def _reachable(self) -> Deployment:
        if self.mode == "distributed" and self.broker in IN_PROCESS:
            raise ValueError(
                f"mode distributed needs the address of a NATS server that every service can "
                f"reach, but broker is {self.broker!r}; write broker: nats://host:4222, or mode: "
                "local"
            )
        return self
