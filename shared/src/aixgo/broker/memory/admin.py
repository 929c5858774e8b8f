"""Declaring, inspecting and removing through a memory connection."""

from __future__ import annotations

from collections.abc import Sequence

from aixgo.broker.memory import declare
from aixgo.broker.memory.connection import Connection
from aixgo.broker.memory.consumer import Consumer
from aixgo.broker.memory.matching import check_filter
from aixgo.broker.memory.stream import Stream
from aixgo.broker.port import Change, ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from aixgo.errors import ConsumerNotFound, StreamRefused


class MemoryAdmin(Connection):
    """Implements `Admin` and `Upkeep`."""

    async def ensure_stream(self, config: StreamConfig) -> Change:
        """See `Admin.ensure_stream`."""
        await self._ask()
        what = f"stream {config.name}"
        stream = self.server.streams.get(config.name)
        if stream is None:
            self.server.create_stream(config)
            return Change(what=what, action="created")
        changed = declare.changes(stream.config, config)
        if not changed:
            return Change(what=what, action="unchanged")
        self.server.update_stream(stream, config)
        return Change(what=what, action="updated", fields=changed)

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Change:
        """See `Admin.ensure_consumer`."""
        await self._ask()
        kept = self.server.stream(stream)
        what = f"consumer {config.name} of {stream}"
        consumer = kept.consumers.get(config.name)
        others = [each.config for each in kept.consumers.values() if each is not consumer]
        if consumer is None:
            declare.check_consumer(kept.config, config, others)
            kept.add_consumer(Consumer(kept, config))
            self.server.reattach()
            return Change(what=what, action="created")
        changed = declare.changes(consumer.config, config)
        if not changed:
            return Change(what=what, action="unchanged")
        declare.check_consumer(kept.config, config, others)
        declare.check_consumer_change(stream, consumer.config, config)
        kept.change_consumer(consumer, config)
        return Change(what=what, action="updated", fields=changed)

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """See `Admin.stream_info`."""
        await self._ask()
        found = self.server.streams.get(stream)
        return None if found is None else found.info()

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo | None:
        """See `Admin.consumer_info`."""
        await self._ask()
        found = self.server.streams.get(stream)
        known = None if found is None else found.consumers.get(consumer)
        return None if known is None else known.info()

    async def stream_names(self) -> Sequence[str]:
        """See `Admin.stream_names`."""
        await self._ask()
        return sorted(self.server.streams)

    async def consumer_names(self, stream: str) -> Sequence[str]:
        """See `Admin.consumer_names`."""
        await self._ask()
        return sorted(self.server.stream(stream).consumers)

    async def delete_stream(self, stream: str) -> bool:
        """See `Upkeep.delete_stream`."""
        await self._ask()
        return self.server.drop_stream(stream)

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        """See `Upkeep.delete_consumer`."""
        await self._ask()
        found = self.server.streams.get(stream)
        known = None if found is None else found.consumers.get(consumer)
        if found is None or known is None:
            return False
        found.remove_consumer(known)
        return True

    async def purge(self, stream: str, subject: str = "", *, before: int = 0) -> int:
        """See `Upkeep.purge`."""
        pattern = subject or ">"
        check_filter(pattern)
        found = await self._removable(stream, "deny_purge")
        return found.purge(pattern, before)

    async def delete_record(self, stream: str, sequence: int) -> bool:
        """See `Upkeep.delete_record`."""
        found = await self._removable(stream, "deny_delete")
        return found.remove(sequence) is not None

    async def pause_consumer(self, stream: str, consumer: str, until: float) -> None:
        """See `Upkeep.pause_consumer`."""
        await self._ask()
        known = self.server.stream(stream).consumers.get(consumer)
        if known is None:
            raise ConsumerNotFound(stream, consumer)
        known.pause(until)

    async def _removable(self, stream: str, denial: str) -> Stream:
        await self._ask()
        found = self.server.stream(stream)
        if getattr(found.config, denial):
            raise StreamRefused(
                f"stream {stream!r} was declared with {denial}=True, so nothing can be removed so"
            )
        return found

    async def _ask(self) -> None:
        """Wait until the server can be asked; a question is a round trip, so others get a turn."""
        await self.ready()
        await self.breathe()
