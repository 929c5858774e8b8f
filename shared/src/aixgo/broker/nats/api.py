"""JetStream's administrative requests: JSON, repeated until answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, TypeVar

import msgspec

from aixgo.broker.nats.configs import unix_time
from aixgo.broker.nats.connection import Connection
from aixgo.broker.nats.refusals import ApiError, is_transient
from aixgo.broker.nats.wire import check_subject
from aixgo.clock import machine, measured, skew
from aixgo.errors import JetStreamDisabled, NoResponders, RequestTimeout, StreamRefused

API_SECONDS = 10.0
"""For a request with all its repetitions."""

ATTEMPT_SECONDS = 1.0
"""A server that has just started does not answer its first request at all."""

ELECTION_SECONDS = 5.0
"""For which a cluster may have no server that answers."""

PAUSE_SECONDS = 0.1

NO_SUBJECT = "aixgo.nothing.is.kept.here"
"""Removing it removes nothing and concerns no consumer."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer has; `ts` is the server's time, where it says so."""

    error: ApiError | None = None
    ts: str = ""


class Done(Answer, frozen=True, kw_only=True):
    """Answer to deletions and purges."""

    success: bool = False
    purged: int = 0


class StreamState(msgspec.Struct, frozen=True):
    """Counters of a stream."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class StreamAnswer(Answer, frozen=True, kw_only=True):
    """A stream as it is; the configuration stays a dictionary, so that updates keep all of it."""

    config: dict[str, Any] = {}
    state: StreamState = StreamState()


class Place(msgspec.Struct, frozen=True):
    """A place in a stream."""

    stream_seq: int = 0


class ConsumerAnswer(Answer, frozen=True, kw_only=True):
    """A consumer as it is."""

    name: str = ""
    config: dict[str, Any] = {}
    delivered: Place = Place()
    ack_floor: Place = Place()
    num_ack_pending: int = 0
    num_redelivered: int = 0
    num_waiting: int = 0
    num_pending: int = 0
    paused: bool = False
    pause_remaining: int = 0


class NamesAnswer(Answer, frozen=True, kw_only=True):
    """A page of names."""

    total: int = 0
    streams: list[str] | None = None
    consumers: list[str] | None = None


class StoredMessage(msgspec.Struct, frozen=True):
    """A record; `data` and `hdrs` are base64, which msgspec decodes."""

    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class MessageAnswer(Answer, frozen=True, kw_only=True):
    """Answer to a request for one record."""

    message: StoredMessage | None = None


T = TypeVar("T", bound=Answer)

log = logging.getLogger("aixgo.broker.nats")

_encoder = msgspec.json.Encoder()


def _decode(data: bytes, kind: type[T], subject: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise StreamRefused(
            f"the answer on {subject!r} is not JetStream's: {error}; does something else answer "
            "there?"
        ) from error


class Api:
    """Asks the JetStream API of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def ask(
        self, verb: str, body: object, kind: type[T], *, within: float = API_SECONDS
    ) -> tuple[T, int]:
        """Return the answer, which may be an error to read, and after how many attempts.

        Args:
            verb: what follows `$JS.API.` in the subject.
            body: JSON of the request; None for an empty one.

        Raises:
            BadSubject: a name of a stream or consumer cannot be sent.
            RequestTimeout: no answer, or only that it is not possible at this moment.
            JetStreamDisabled: no server keeps streams here.
            PermissionDenied: this user may not do that.
        """
        subject = f"$JS.API.{verb}"
        check_subject(subject)
        data = b"" if body is None else _encoder.encode(body)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        attempts = 0
        while True:
            left = within - (loop.time() - begun)
            last: object
            sent = machine()
            try:
                message, tries = await self._connection.ask(
                    subject, data, within=left, attempt=ATTEMPT_SECONDS
                )
            except NoResponders as error:
                if loop.time() - begun > min(ELECTION_SECONDS, within):
                    raise JetStreamDisabled(
                        f"no server answers {subject!r}: JetStream is off, or its cluster has no "
                        "leader; look at the server's log"
                    ) from error
                tries, last = 1, error
            else:
                answer = _decode(message.data, kind, subject)
                if answer.ts and tries == 1:
                    self._compare(answer.ts, sent, machine())
                if answer.error is None or not is_transient(answer.error):
                    return answer, attempts + tries
                last = answer.error.description
            attempts += tries
            if loop.time() - begun + PAUSE_SECONDS >= within:
                raise RequestTimeout(
                    f"{subject!r} was not possible within {within:g} s and {attempts} attempts; "
                    f"last: {last}"
                )
            await asyncio.sleep(PAUSE_SECONDS)

    def _compare(self, theirs: str, sent: float, received: float) -> None:
        """Compare this machine's clock with the server's, which wrote its time in between."""
        ahead = unix_time(theirs) - (sent + received) / 2
        if not measured(ahead, max(received - sent, 0.0) / 2):
            return
        if skew():
            log.warning(
                "clock.wrong",
                extra={
                    "server": self._connection.server,
                    "behind_seconds": round(ahead, 1),
                    "advice": "set this machine's clock (NTP); deadlines and timers are corrected",
                },
            )
        else:
            log.warning("clock.right_again", extra={"server": self._connection.server})
