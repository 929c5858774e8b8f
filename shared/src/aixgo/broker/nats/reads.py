"""Reading records: one by subject or sequence, many by filter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from aixgo.broker import headers as h
from aixgo.broker.checks import check_sequence
from aixgo.broker.nats.api import (
    API_SECONDS,
    ATTEMPT_SECONDS,
    NO_SUBJECT,
    Api,
    Done,
    MessageAnswer,
    StoredMessage,
)
from aixgo.broker.nats.configs import unix_time
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.refusals import NO_MESSAGE, refused_api
from aixgo.broker.nats.wire import DESCRIPTION, STATUS, check_filter, check_subject, parse_headers
from aixgo.broker.port import BusMessage, Headers, Record
from aixgo.errors import Disconnected, NoResponders, PermissionDenied, RequestTimeout, StreamRefused

BATCH = 512
"""Records of one request; the server sends them without waiting."""

NOT_FOUND, END_OF_BATCH = "404", "204"

_ADDED = (
    h.STREAM,
    h.SUBJECT,
    h.SEQUENCE,
    h.TIME_STAMP,
    h.NUM_PENDING,
    h.LAST_SEQUENCE,
    h.UP_TO_SEQUENCE,
)
"""Headers with which the server describes a record that it returns."""

_encoder = msgspec.json.Encoder()


class _NoDirectGet(Exception):
    """The stream does not allow direct reads, or does not exist."""


class Reads:
    """Reads over a connection: directly from any replica where the stream allows it."""

    def __init__(self, connection: Connection, api: Api) -> None:
        self._connection = connection
        self._api = api

    async def last(self, stream: str, subject: str, *, decisive: bool) -> Record | None:
        """See `Log.last`.

        Raises:
            BadSubject, StreamNotFound, RequestTimeout, PermissionDenied.
        """
        self._connection.check_open()
        check_filter(subject)
        if decisive and self._connection.clustered:
            await self._pass_majority(stream)
            return await self._get_from_leader(stream, {"last_by_subj": subject})
        where = f"$JS.API.DIRECT.GET.{stream}"
        check_subject(where)
        try:
            answer = await self._ask(f"{where}.{subject}", b"")
        except _NoDirectGet:
            return await self._get_from_leader(stream, {"last_by_subj": subject})
        return _found(stream, subject, answer)

    async def _pass_majority(self, stream: str) -> None:
        """Return when a majority of the stream's servers has agreed to something new.

        A leader that was cut off or frozen believes in itself until it hears of another, and
        answers reads from before. It cannot answer this: removing nothing is an entry of the
        stream's log, and it is answered when a majority has it.
        """
        body = {"filter": NO_SUBJECT}
        with suppress(PermissionDenied):  # who may not has the word of a leader only
            answer, _ = await self._api.ask(f"STREAM.PURGE.{stream}", body, Done)
            if answer.error is not None:
                raise refused_api(answer.error, stream)

    async def at(self, stream: str, sequence: int) -> Record | None:
        """See `Log.at`.

        Raises:
            StreamNotFound, RequestTimeout, PermissionDenied.
        """
        self._connection.check_open()
        check_sequence(sequence)
        where = f"$JS.API.DIRECT.GET.{stream}"
        check_subject(where)
        try:
            answer = await self._ask(where, b'{"seq":%d}' % sequence)
        except _NoDirectGet:
            return await self._get_from_leader(stream, {"seq": sequence})
        return _found(stream, sequence, answer)

    async def marked(
        self, stream: str, *, subject: str, sequence: int
    ) -> tuple[Record | None, str]:
        """Return the record at `sequence`, or the newest of `subject` for 0, and who wrote it.

        It is the leader's, unless only direct reads are permitted.
        """
        body = {"seq": sequence} if sequence else {"last_by_subj": subject}
        try:
            answer, _ = await self._api.ask(f"STREAM.MSG.GET.{stream}", body, MessageAnswer)
        except PermissionDenied:
            answer = MessageAnswer()
        if answer.message is not None:
            return _stored(stream, answer.message)
        try:
            direct = await self._ask(f"$JS.API.DIRECT.GET.{stream}", _encoder.encode(body))
        except _NoDirectGet:
            return None, ""
        if STATUS in direct.headers:
            return None, ""
        return _record(stream, direct)

    async def _ask(self, subject: str, data: bytes) -> BusMessage:
        try:
            answer, _ = await self._connection.ask(
                subject, data, within=API_SECONDS, attempt=ATTEMPT_SECONDS
            )
        except NoResponders as error:
            raise _NoDirectGet from error
        return answer

    async def _get_from_leader(self, stream: str, body: dict[str, object]) -> Record | None:
        answer, _ = await self._api.ask(f"STREAM.MSG.GET.{stream}", body, MessageAnswer)
        if answer.error is not None:
            if answer.error.err_code == NO_MESSAGE:
                return None
            raise refused_api(answer.error, stream)
        return None if answer.message is None else _stored(stream, answer.message)[0]

    async def read(self, stream: str, subject: str, *, start: int, limit: int) -> Sequence[Record]:
        """See `Log.read`.

        Raises:
            StreamNotFound, RequestTimeout, PermissionDenied.
        """
        self._connection.check_open()
        check_filter(subject)
        records: list[Record] = []
        following = max(start, 1)
        direct = True
        while not limit or len(records) < limit:
            wanted = min(BATCH, limit - len(records)) if limit else BATCH
            before = len(records)
            more = False
            if direct:
                try:
                    more = await self._batch(stream, subject, following, wanted, records)
                except _NoDirectGet:
                    direct = False
            if not direct:
                body = {"seq": following, "next_by_subj": subject}
                record = await self._get_from_leader(stream, body)
                more = record is not None
                if record is not None:
                    records.append(record)
            if not more:
                break
            if len(records) > before:
                following = records[-1].sequence + 1
        return records

    async def _batch(
        self, stream: str, subject: str, start: int, wanted: int, records: list[Record]
    ) -> bool:
        """Append the next records; whether there may be more.

        What a lost connection interrupts is asked again, from after the last record that came.
        """
        attempts = 0
        where = f"$JS.API.DIRECT.GET.{stream}"
        check_subject(where)
        while True:
            before = len(records)
            try:
                return await self._batch_once(where, stream, subject, start, wanted, records)
            except (RequestTimeout, Disconnected):
                if len(records) > before:
                    return True
                attempts += 1
                if attempts * ATTEMPT_SECONDS >= API_SECONDS:
                    raise

    async def _batch_once(
        self,
        where: str,
        stream: str,
        subject: str,
        start: int,
        wanted: int,
        records: list[Record],
    ) -> bool:
        body = _encoder.encode({"seq": start, "batch": wanted, "next_by_subj": subject})
        with self._connection.replies.many(where) as answers:
            await self._connection.up_within(API_SECONDS)
            self._connection.link.send(where, body, answers.inbox)
            while True:
                answer = await answers.next(ATTEMPT_SECONDS)
                status = answer.headers.get(STATUS)
                if status is None:
                    records.append(_record(stream, answer)[0])
                elif status == END_OF_BATCH:
                    return answer.headers.get(h.NUM_PENDING, "0") != "0"
                elif status == NOT_FOUND:
                    return False
                else:
                    raise _NoDirectGet


def _found(stream: str, what: object, answer: BusMessage) -> Record | None:
    """Return the record of a direct read of one; None if there is none."""
    status = answer.headers.get(STATUS)
    if status == NOT_FOUND:
        return None
    if status is not None:
        raise StreamRefused(
            f"stream {stream!r} refuses to read {what!r}: status {status} "
            f"{answer.headers.get(DESCRIPTION, '')}"
        )
    return _record(stream, answer)[0]


def _record(stream: str, answer: BusMessage) -> tuple[Record, str]:
    """Return the record of a direct read, and who wrote it."""
    headers: dict[str, str] = dict(answer.headers)
    subject, sequence = headers[h.SUBJECT], int(headers[h.SEQUENCE])
    time = unix_time(headers[h.TIME_STAMP])
    for name in _ADDED:
        headers.pop(name, None)
    writer = headers.pop(h.WRITER, "")
    return Record(stream, subject, sequence, answer.data, time, headers), writer


def _stored(stream: str, stored: StoredMessage) -> tuple[Record, str]:
    """Return the record of a read from the leader, and who wrote it."""
    headers = parse_headers(stored.hdrs) if stored.hdrs else {}
    writer = headers.pop(h.WRITER, "")
    record = Record(
        stream, stored.subject, stored.seq, stored.data, unix_time(stored.time), headers
    )
    return record, writer


def without_writer(headers: Headers) -> Headers:
    """Return the headers of a delivery without the mark of its writer."""
    if h.WRITER in headers:
        return {key: value for key, value in headers.items() if key != h.WRITER}
    return headers
