"""`Log.append`: repeated until the stream has answered, and never beaten by its own repetition."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import msgspec

from aixgo.broker import headers as h
from aixgo.broker.checks import check_timeout, whole_seconds
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.reads import Reads
from aixgo.broker.nats.refusals import (
    LOST_COMPARE_AND_SET,
    ApiError,
    is_transient,
    refused_append,
)
from aixgo.broker.nats.replies import no_stream
from aixgo.broker.nats.streams import Streams
from aixgo.broker.nats.wire import check_subject, encode_headers
from aixgo.broker.port import Appended, Expect, Headers
from aixgo.errors import (
    BrokerError,
    NoResponders,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
    StreamNotFound,
)

ATTEMPT_SECONDS = 2.0
"""Without an answer for this time the message is sent again; the stream knows it by its id."""

PATIENCE_SECONDS = 3.0
"""Without any answer for this long it is asked why."""

ASK_WHY_SECONDS = 2.0

PAUSE_SECONDS = 0.1
"""Between two attempts at a stream that is busy or has no leader at this moment."""

_SEQUENCE = re.compile(r"wrong last sequence: (\d+)")


class _Ack(msgspec.Struct, frozen=True):
    """The stream's answer."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


_decode = msgspec.json.Decoder(_Ack).decode


class Appends:
    """Appends over a connection."""

    def __init__(self, connection: Connection, reads: Reads, streams: Streams) -> None:
        self._connection = connection
        self._reads = reads
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._count = 0

    async def append(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str,
        expect: Expect | None,
        ttl: float,
        headers: Headers | None,
        timeout: float,
    ) -> Appended:
        """See `Log.append`."""
        self._connection.check_open()
        check_subject(subject)
        check_timeout(timeout)
        writer = ""
        if msg_id or expect is not None or ttl or headers:
            fields = {} if headers is None else dict(headers)
            if msg_id:
                fields[h.MSG_ID] = msg_id
            if ttl:
                fields[h.TTL] = str(whole_seconds(subject, ttl))
            if expect is not None:
                _expect(fields, expect)
                self._count += 1
                writer = fields[h.WRITER] = f"{self._connection.replies.root[-22:]}.{self._count}"
            block = encode_headers(fields) if fields else b""
        else:
            block = b""
        if len(block) + len(data) > self._connection.max_payload:
            raise PayloadTooLarge(subject, len(block) + len(data), self._connection.max_payload)
        ack, repeated = await self._until_answered(subject, data, block, timeout)
        if ack.error is None:
            return Appended(ack.stream, ack.seq, ack.duplicate)
        if repeated and ack.error.err_code in LOST_COMPARE_AND_SET:
            return await self._own(subject, ack, ack.error, writer)
        raise refused_append(ack.error, subject)

    async def _until_answered(
        self, subject: str, data: bytes, block: bytes, timeout: float
    ) -> tuple[_Ack, bool]:
        """Return the stream's final answer, and whether an earlier attempt may be stored."""
        deadline = self._loop.time() + timeout
        attempts = 0
        claimed: bool | None = None
        asked_why = False
        while True:
            left = deadline - self._loop.time()
            problem: BrokerError
            patience = left if asked_why else min(left, PATIENCE_SECONDS)
            try:
                message, tries = await self._connection.ask(
                    subject, data, within=patience, attempt=ATTEMPT_SECONDS, headers=block
                )
            except NoResponders as error:
                attempts += 2  # an attempt before this one may have been stored
                if claimed is None:
                    claimed = await self._is_claimed(subject, left)
                if claimed is False:
                    raise no_stream(subject) from error
                problem = error
            except RequestTimeout as error:
                attempts += 2  # some of them may have been stored
                problem = error
                if not asked_why:
                    asked_why = True
                    await self._check_disk(subject, deadline - self._loop.time())
                if self._loop.time() + PAUSE_SECONDS >= deadline:
                    raise _no_word(subject, timeout, error) from error
                continue
            else:
                attempts += tries
                ack = _answer(message.data, subject)
                if ack.error is None or not is_transient(ack.error):
                    return ack, attempts > 1
                problem = refused_append(ack.error, subject)
            if self._loop.time() + PAUSE_SECONDS >= deadline:
                raise _no_word(subject, timeout, problem) from problem
            await asyncio.sleep(PAUSE_SECONDS)

    async def _check_disk(self, subject: str, left: float) -> None:
        """Find out whether no answer comes because the stream cannot be written.

        A server that fails to write says so in its log only, but it repeats the failure to any
        client that wants to remove something, even if there is nothing to remove.

        Raises:
            DiskFull: that is why.
        """
        with suppress(StreamNotFound, PermissionDenied, RequestTimeout, TimeoutError):
            async with asyncio.timeout(min(max(left, 0.0), ASK_WHY_SECONDS)):
                for stream in await self._streams.stream_names(subject):
                    await self._streams.check_writable(stream)

    async def _is_claimed(self, subject: str, left: float) -> bool | None:
        """Say whether a stream takes the subject, so that waiting for its leader makes sense.

        None: a cluster cannot say at this moment; it may be choosing who answers.
        """
        try:
            async with asyncio.timeout(left):
                return bool(await self._streams.stream_names(subject))
        except PermissionDenied:
            return False  # a user that may not ask is told the same as without us
        except (BrokerError, TimeoutError):
            return None if self._connection.clustered else False

    async def _own(self, subject: str, ack: _Ack, error: ApiError, writer: str) -> Appended:
        """Tell a compare-and-set that lost against others from one whose first answer was lost.

        The server looks at the sequence before it looks at the message id, so it refuses the
        repetition of what it has stored.
        """
        found = _SEQUENCE.search(error.description)
        record, mark = await self._reads.marked(
            ack.stream, subject=subject, sequence=int(found[1]) if found else 0
        )
        if record is not None and mark == writer:
            return Appended(ack.stream, record.sequence, duplicate=True)
        raise refused_append(error, subject)


def _expect(fields: dict[str, str], expect: Expect) -> None:
    fields[h.EXPECT_SUBJECT] = str(expect.subject_sequence)
    if expect.subject_filter:
        fields[h.EXPECT_SUBJECT_FILTER] = expect.subject_filter


def _answer(data: bytes, subject: str) -> _Ack:
    try:
        ack = _decode(data)
    except msgspec.DecodeError:
        ack = None
    if ack is None or (not ack.stream and ack.error is None):
        raise no_stream(subject)  # a plain subscriber has answered: no stream takes it
    return ack


def _no_word(subject: str, timeout: float, last: BrokerError) -> RequestTimeout:
    return RequestTimeout(
        f"no stream has confirmed the message for {subject!r} within {timeout:g} s; it may or may "
        f"not be stored, so append it again with the same msg_id. Last: {last}"
    )
