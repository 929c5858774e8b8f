"""Declaring, inspecting and removing streams and consumers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aixgo.broker.nats.api import (
    NO_SUBJECT,
    Answer,
    Api,
    ConsumerAnswer,
    Done,
    NamesAnswer,
    StreamAnswer,
)
from aixgo.broker.nats.configs import (
    NANO,
    consumer_from_json,
    consumer_to_json,
    differences,
    stream_from_json,
    stream_to_json,
)
from aixgo.broker.nats.refusals import (
    CONSUMER_EXISTS,
    CONSUMER_NOT_FOUND,
    MESSAGE_NOT_DELETED,
    NO_MESSAGE,
    STREAM_EXISTS,
    STREAM_NOT_FOUND,
    refused_api,
)
from aixgo.broker.port import Change, ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from aixgo.clock import now, rfc3339
from aixgo.errors import PermissionDenied, StreamRefused

NOT_FOUND = {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}


def _code(answer: Answer) -> int:
    return 0 if answer.error is None else answer.error.err_code


class Streams:
    """The `Admin` and `Upkeep` roles."""

    def __init__(self, api: Api) -> None:
        self._api = api

    # -- streams -------------------------------------------------------------------------------

    async def ensure_stream(self, config: StreamConfig) -> Change:
        """See `Admin.ensure_stream`.

        Raises:
            StreamRefused: a field cannot be changed, or subjects overlap another stream's.
        """
        what = f"stream {config.name}"
        document = stream_to_json(config)
        standing = await self._stream(config.name)
        if standing is None:
            created, _ = await self._api.ask(f"STREAM.CREATE.{config.name}", document, StreamAnswer)
            if _code(created) != STREAM_EXISTS:
                _check(created, config.name)
                return Change(what=what, action="created")
            standing = await self._stream(config.name)  # another process declared it just now
        kept = {} if standing is None else standing.config
        changed = differences(stream_from_json(kept), config, stream_from_json(document))
        if not changed:
            return Change(what=what, action="unchanged")
        if "persist" in changed:  # the server's own refusal does not say how it is done
            old, new = changed["persist"]
            raise StreamRefused(
                f"stream {config.name!r} cannot change persist {old!r} → {new!r}: that is chosen "
                f"when it is created. Stop the services when nothing is queued, delete it "
                f"(`nats stream rm {config.name}`), provision again and start them"
            )
        updated, _ = await self._api.ask(
            f"STREAM.UPDATE.{config.name}", {**kept, **document}, StreamAnswer
        )
        _check(updated, config.name)
        return Change(what=what, action="updated", fields=changed)

    async def _stream(self, name: str) -> StreamAnswer | None:
        answer, _ = await self._api.ask(f"STREAM.INFO.{name}", None, StreamAnswer)
        if _code(answer) == STREAM_NOT_FOUND:
            return None
        _check(answer, name)
        return answer

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """See `Admin.stream_info`."""
        answer = await self._stream(stream)
        if answer is None:
            return None
        state = answer.state
        return StreamInfo(
            config=stream_from_json(answer.config),
            messages=state.messages,
            bytes=state.bytes,
            first_sequence=state.first_seq,
            last_sequence=state.last_seq,
            consumers=state.consumer_count,
        )

    async def stream_names(self, subject: str = "") -> Sequence[str]:
        """See `Admin.stream_names`; only those that take `subject`, if given."""
        names: list[str] = []
        while True:
            body = {"offset": len(names), **({"subject": subject} if subject else {})}
            page, _ = await self._api.ask("STREAM.NAMES", body, NamesAnswer)
            _check(page, "*")
            names += page.streams or []
            if not page.streams or len(names) >= page.total:
                return sorted(set(names))

    async def delete_stream(self, stream: str) -> bool:
        """See `Upkeep.delete_stream`."""
        return await self._delete(f"STREAM.DELETE.{stream}", stream)

    async def purge(self, stream: str, subject: str, before: int) -> int:
        """See `Upkeep.purge`.

        Raises:
            StreamNotFound: there is no such stream.
        """
        body: dict[str, object] = {"filter": subject} if subject else {}
        if before:
            body["seq"] = before
        answer, _ = await self._api.ask(f"STREAM.PURGE.{stream}", body or None, Done)
        _check(answer, stream)
        return answer.purged

    async def check_writable(self, stream: str) -> None:
        """Raise the failure that made the server refuse all writes to the stream, if there is one.

        Raises:
            DiskFull: the server could not write.
            StreamNotFound, PermissionDenied, RequestTimeout.
        """
        await self.purge(stream, NO_SUBJECT, 0)

    async def delete_record(self, stream: str, sequence: int) -> bool:
        """See `Upkeep.delete_record`.

        Raises:
            StreamNotFound: there is no such stream.
        """
        body = {"seq": sequence, "no_erase": True}
        answer, attempts = await self._api.ask(f"STREAM.MSG.DELETE.{stream}", body, Done)
        if _code(answer) in MESSAGE_NOT_DELETED | {NO_MESSAGE}:
            return attempts > 1  # the first attempt did it, and its answer was lost
        _check(answer, stream)
        return True

    async def _delete(self, verb: str, stream: str, consumer: str = "") -> bool:
        answer, attempts = await self._api.ask(verb, None, Done)
        if _code(answer) in NOT_FOUND:
            return attempts > 1  # the first attempt did it, and its answer was lost
        _check(answer, stream, consumer)
        return True

    # -- consumers -----------------------------------------------------------------------------

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> Change:
        """See `Admin.ensure_consumer`.

        Raises:
            StreamNotFound: there is no such stream.
        """
        what = f"consumer {config.name} of {stream}"
        document = consumer_to_json(config)
        standing = await self._consumer(stream, config.name)
        if standing is None:
            created = await self._declare(stream, config.name, document, "create")
            if _code(created) != CONSUMER_EXISTS:
                _check(created, stream, config.name)
                return Change(what=what, action="created")
            standing = await self._consumer(stream, config.name)
        kept = {} if standing is None else standing.config
        changed = differences(consumer_from_json(kept), config, config)
        if not changed:
            return Change(what=what, action="unchanged")
        kept.pop("filter_subject", None)
        updated = await self._declare(stream, config.name, {**kept, **document}, "update")
        _check(updated, stream, config.name)
        return Change(what=what, action="updated", fields=changed)

    async def _declare(
        self, stream: str, name: str, document: dict[str, Any], action: str
    ) -> ConsumerAnswer:
        body = {"stream_name": stream, "config": document, "action": action}
        answer, _ = await self._api.ask(f"CONSUMER.CREATE.{stream}.{name}", body, ConsumerAnswer)
        return answer

    async def _consumer(self, stream: str, name: str) -> ConsumerAnswer | None:
        answer, _ = await self._api.ask(f"CONSUMER.INFO.{stream}.{name}", None, ConsumerAnswer)
        if _code(answer) in NOT_FOUND:
            return None
        _check(answer, stream, name)
        return answer

    async def ack_wait(self, stream: str, consumer: str) -> float:
        """Return the seconds after which the server redelivers what is unanswered.

        Raises:
            StreamNotFound, ConsumerNotFound.
        """
        try:
            answer, _ = await self._api.ask(
                f"CONSUMER.INFO.{stream}.{consumer}", None, ConsumerAnswer
            )
        except PermissionDenied:
            return ConsumerConfig(name=consumer).ack_wait
        _check(answer, stream, consumer)
        return consumer_from_json(answer.config).ack_wait

    async def consumer_info(self, stream: str, consumer: str) -> ConsumerInfo | None:
        """See `Admin.consumer_info`."""
        answer = await self._consumer(stream, consumer)
        if answer is None:
            return None
        return ConsumerInfo(
            stream=stream,
            config=consumer_from_json(answer.config),
            pending=answer.num_pending,
            ack_pending=answer.num_ack_pending,
            waiting=answer.num_waiting,
            redelivered=answer.num_redelivered,
            ack_floor=answer.ack_floor.stream_seq,
            paused_until=now() + answer.pause_remaining / NANO if answer.paused else None,
        )

    async def consumer_names(self, stream: str) -> Sequence[str]:
        """See `Admin.consumer_names`.

        Raises:
            StreamNotFound: there is no such stream.
        """
        names: list[str] = []
        while True:
            body = {"offset": len(names)}
            page, _ = await self._api.ask(f"CONSUMER.NAMES.{stream}", body, NamesAnswer)
            _check(page, stream)
            names += page.consumers or []
            if not page.consumers or len(names) >= page.total:
                return sorted(set(names))

    async def delete_consumer(self, stream: str, consumer: str) -> bool:
        """See `Upkeep.delete_consumer`."""
        return await self._delete(f"CONSUMER.DELETE.{stream}.{consumer}", stream, consumer)

    async def pause_consumer(self, stream: str, consumer: str, until: float) -> None:
        """See `Upkeep.pause_consumer`.

        Raises:
            StreamNotFound, ConsumerNotFound.
        """
        body = {"pause_until": rfc3339(until)}
        answer, _ = await self._api.ask(f"CONSUMER.PAUSE.{stream}.{consumer}", body, Done)
        _check(answer, stream, consumer)


def _check(answer: Answer, stream: str, consumer: str = "") -> None:
    """Raise the error of an answer that is one."""
    if answer.error is not None:
        raise refused_api(answer.error, stream, consumer)
