"""How the world finds what is served: NATS micro discovery (`$SRV.*`) and presence.

The `$SRV` answers follow ADR-32 of the NATS project, so standard NATS tools list agents. Written
by hand because the client library's own responder handles one request at a time and only knows
core subjects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from aixgo.broker.keyvalue import Bucket
from aixgo.broker.port import Broker, BusMessage, Subscription
from aixgo.broker.topology import PRESENCE_TTL_SECONDS
from aixgo.clock import now, rfc3339
from aixgo.errors import BrokerError
from aixgo.subjects import PRESENCE, Names

__all__ = ["Discovery", "Endpoint"]

log = logging.getLogger("aixgo.hosting.discovery")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An agent as discovery shows it, with what it has done since its start."""

    name: str
    subject: str
    queue_group: str
    metadata: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    errors: int = 0
    last_error: str = ""
    retried: int = 0
    seconds: float = 0.0

    def info(self) -> dict[str, Any]:
        """Return the endpoint as `$SRV.INFO` shows it."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue_group,
            "metadata": self.metadata,
        }

    def stats(self) -> dict[str, Any]:
        """Return the endpoint as `$SRV.STATS` shows it; times are nanoseconds."""
        total = int(self.seconds * 1e9)
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue_group,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": total,
            "average_processing_time": total // max(1, self.requests),
            "data": {"retried": self.retried},
        }


class Discovery:
    """Answers `$SRV.PING`, `INFO` and `STATS` for one service instance, and renews its presence.

    Args:
        service: name of the service, one token.
        instance: id of this instance, one token.
        endpoints: returns the served agents at the moment of asking.
    """

    def __init__(
        self,
        broker: Broker,
        names: Names,
        *,
        service: str,
        instance: str,
        version: str,
        endpoints: Callable[[], Sequence[Endpoint]],
    ) -> None:
        self._broker, self._endpoints = broker, endpoints
        self._service, self._instance = service, instance
        self._base = {
            "name": service,
            "id": instance,
            "version": version,
            "metadata": {"namespace": names.namespace},
        }
        self._started = now()
        self._presence = Bucket(broker, names.bucket(PRESENCE))
        self._subscriptions: list[Subscription] = []
        self._renewal: asyncio.Task[None] | None = None
        self._replies: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to answer and to be present."""
        answers = {"PING": self._ping, "INFO": self._info, "STATS": self._stats}
        scopes = ("", f".{self._service}", f".{self._service}.{self._instance}")
        for verb, answer in answers.items():
            for scope in scopes:
                self._subscriptions.append(
                    await self._broker.subscribe(f"$SRV.{verb}{scope}", self._responder(answer))
                )
        await self._renew()
        self._renewal = asyncio.create_task(self._keep_present(), name="presence")

    async def stop(self) -> None:
        """Stop answering and leave the presence bucket at once. Idempotent."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
            try:
                for key in self._keys():
                    await self._presence.delete(key)
            except BrokerError as error:  # it expires by itself
                log.debug("presence.not_left", extra={"error": error.code})
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            await subscription.unsubscribe()

    def _responder(self, answer: Callable[[], dict[str, Any]]) -> Callable[[BusMessage], None]:
        def respond(message: BusMessage) -> None:
            if message.reply:
                task = asyncio.create_task(
                    self._broker.publish(message.reply, msgspec.json.encode(answer()))
                )
                self._replies.add(task)
                task.add_done_callback(self._replies.discard)

        return respond

    def _ping(self) -> dict[str, Any]:
        return {"type": "io.nats.micro.v1.ping_response", **self._base}

    def _info(self) -> dict[str, Any]:
        return {
            "type": "io.nats.micro.v1.info_response",
            **self._base,
            "description": "Aixgo agents",
            "endpoints": [endpoint.info() for endpoint in self._endpoints()],
        }

    def _stats(self) -> dict[str, Any]:
        return {
            "type": "io.nats.micro.v1.stats_response",
            **self._base,
            "started": rfc3339(self._started),
            "endpoints": [endpoint.stats() for endpoint in self._endpoints()],
        }

    def _keys(self) -> list[str]:
        return [f"{endpoint.name}.{self._instance}" for endpoint in self._endpoints()]

    async def _renew(self) -> None:
        body = msgspec.json.encode({"service": self._service, "since": self._started})
        for key in self._keys():
            await self._presence.put(key, body, ttl=PRESENCE_TTL_SECONDS)

    async def _keep_present(self) -> None:
        while True:
            await asyncio.sleep(PRESENCE_TTL_SECONDS / 3)
            try:
                await self._renew()
            except BrokerError as error:
                log.warning("presence.not_renewed", extra={"error": error.code})
