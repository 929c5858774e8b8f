"""Errors between this process and the broker."""

from __future__ import annotations

import re

from .base import AixgoError

_NAMED = re.compile(r"(?:KV_|OBJ_)?aixgo-([A-Za-z0-9_-]+)-[A-Za-z]+")
"""A stream, bucket or object store of a namespace; see `aixgo.subjects`."""


class BrokerError(AixgoError):
    """A failure between this process and the broker."""

    code = "broker"


class Unreachable(BrokerError):
    """No server answers at the broker's address."""

    code = "unreachable"


class AuthenticationFailed(BrokerError):
    """The broker refuses the credentials."""

    code = "authentication_failed"


class ServerTooOld(BrokerError):
    """The nats-server lacks features that Aixgo's promises need."""

    code = "server_too_old"


class JetStreamDisabled(BrokerError):
    """The server runs without JetStream, so it keeps no streams."""

    code = "jetstream_disabled"


class PermissionDenied(BrokerError):
    """The server refuses this user the subject."""

    code = "permission_denied"


class ConnectionClosed(BrokerError):
    """The connection was closed for good, by this process or by the server."""

    code = "connection_closed"


class Disconnected(BrokerError):
    """The connection is down at this moment; it is being restored."""

    code = "disconnected"
    retryable = True


class NoResponders(BrokerError):
    """No process listens on the subject."""

    code = "no_responders"
    retryable = True


class RequestTimeout(BrokerError):
    """The broker or a responder did not answer in time."""

    code = "request_timeout"
    retryable = True


class BadSubject(BrokerError):
    """A subject or a token breaks the rules of `subjects.md`."""

    code = "bad_subject"


class BadHeader(BrokerError):
    """A header key or value cannot be sent."""

    code = "bad_header"


class PayloadTooLarge(BrokerError):
    """A message is over the broker's limit."""

    code = "payload_too_large"

    def __init__(self, subject: str, size: int, limit: int) -> None:
        self.subject, self.size, self.limit = subject, size, limit
        super().__init__(
            f"message for {subject!r} is {size:,} bytes with its headers, over the broker's "
            f"{limit:,} bytes; "
            "put the body in the object store and send its key (subjects.md, 'Large bodies')"
        )


class BodyTooLarge(PayloadTooLarge):
    """A payload is over what even the object store carries."""

    code = "body_too_large"

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.subject, self.size, self.limit = what, size, limit
        BrokerError.__init__(
            self,
            f"the payload of {what} is {size:,} bytes, over the limit of {limit:,} bytes; "
            "store it elsewhere and send its address",
        )


class StreamNotFound(BrokerError):
    """The stream does not exist."""

    code = "stream_not_found"

    def __init__(self, stream: str) -> None:
        self.stream = stream
        named = _NAMED.fullmatch(stream)
        super().__init__(
            f"namespace {named[1]!r} is not provisioned on this broker (there is no stream "
            f"{stream!r}); run `aixgo provision FILE` against it once"
            if named
            else f"stream {stream!r} does not exist on this broker; is it the right broker?"
        )


class ConsumerNotFound(BrokerError):
    """The durable consumer does not exist."""

    code = "consumer_not_found"

    def __init__(self, stream: str, consumer: str) -> None:
        self.stream, self.consumer = stream, consumer
        super().__init__(
            f"consumer {consumer!r} of stream {stream!r} does not exist on this broker; run "
            "`aixgo provision FILE` with the document that declares the agent"
        )


class ConsumerConflict(BrokerError):
    """A consumer cannot be declared that way: filters overlap, or the stream forbids its policy."""

    code = "consumer_conflict"


class StreamFull(BrokerError):
    """Backpressure: the stream is at its limit and refuses new messages."""

    code = "stream_full"
    retryable = True


class DiskFull(BrokerError):
    """The server cannot write to its disk: no room, or the disk fails.

    What was being written may or may not be stored.
    """

    code = "disk_full"
    retryable = True


class WrongSequence(BrokerError):
    """Compare-and-set lost: another record is the newest."""

    code = "wrong_sequence"


class StreamRefused(BrokerError):
    """The stream refuses the message itself: its TTL, its size, or it expected another stream."""

    code = "stream_refused"


class BlobMissing(BrokerError):
    """The object store does not have the object, or no longer has it."""

    code = "blob_missing"


class BlobCorrupt(BrokerError):
    """A stored object does not have the size or the digest with which it was stored."""

    code = "blob_corrupt"
