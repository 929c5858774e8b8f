"""What the server refuses, as errors of Aixgo: codes of JetStream, missing permissions."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from aixgo.errors import (
    BrokerError,
    ConsumerConflict,
    ConsumerNotFound,
    DiskFull,
    JetStreamDisabled,
    PermissionDenied,
    StreamFull,
    StreamNotFound,
    StreamRefused,
    WrongSequence,
)


class ApiError(msgspec.Struct, frozen=True):
    """An error as JetStream writes it; `err_code` is the precise one."""

    code: int = 0
    err_code: int = 0
    description: str = ""


NO_MESSAGE: Final = 10037
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
STREAM_EXISTS: Final = 10058
CONSUMER_EXISTS: Final = 10148
MESSAGE_NOT_DELETED: Final = {10043, 10057}

LOST_COMPARE_AND_SET: Final = {10070, 10071, 10164}
FULL: Final = {10023, 10028, 10047}
DISABLED: Final = {10039, 10076}
CONSUMER_CONFLICTS: Final = {10012, 10013, 10099, 10100, 10105, 10138, 10148}

STORE_FAILED: Final = 10077
"""A limit of the stream, or a store that cannot be written: only its text says which."""

TRANSIENT: Final = {
    10004: "incomplete results: a server of the cluster did not answer",
    10007: "the stream is not assigned to this server yet",
    10008: "the cluster has no leader",
    10009: "this server is no longer the leader",
    10035: "the account is not loaded yet",
    10041: "the consensus group of the stream is not ready",
    10049: "the store of a stream of that name is still being removed",
    10075: "the stream is being moved to another server",
    10118: "the stream's replicas are offline",
    10119: "the consumer's replicas are offline",
    10158: "an earlier attempt with the same message id is being stored",
    10163: "an earlier compare-and-set of the subject is being stored",
    10167: "the server's queue of messages to store is full",
    10210: "too many batches are being stored",
    10211: "too many batches are being stored",
}
"""What may be different in a moment, so the same request is repeated until its time is over."""

NEWEST_KNOWN: Final = 10227
"""Of a newer code only its class is known: 429 and 503 mean "not now"."""

_LIMITS = ("maximum bytes exceeded", "maximum messages exceeded", "maximum messages per subject")
_CLOSED = ("store is closed", "store closed", "stream closed")
_DISK = (
    "no space left",
    "not enough space",
    "disk quota",
    "disk full",
    "input/output error",
    "read-only file system",
    "file too large",
)

_VIOLATION = re.compile(
    r"permissions violation for (?P<verb>publish|subscription) to \"(?P<subject>[^\"]+)\"",
    re.IGNORECASE,
)


def is_transient(error: ApiError) -> bool:
    """Say whether the same request may succeed soon: an election, a start, a busy server."""
    if error.err_code == STORE_FAILED:
        return _says(error, _CLOSED)
    if 0 < error.err_code <= NEWEST_KNOWN:
        return error.err_code in TRANSIENT
    return error.code in (429, 503)


def is_full(error: ApiError) -> bool:
    """Say whether a limit is reached, so that waiting for room makes sense."""
    return error.err_code in FULL or (error.err_code == STORE_FAILED and _says(error, _LIMITS))


def disk_error(error: ApiError, what: str) -> DiskFull | None:
    """Return the error of a server that cannot write to its disk; None if it is something else."""
    if not _says(error, _DISK):
        return None
    return DiskFull(
        f"the server cannot write {what} to its disk: {error.description} (error "
        f"{error.err_code}). Make room on the disk, then restart the server: it refuses all writes "
        "to a stream after the first one that failed"
    )


def _says(error: ApiError, texts: tuple[str, ...]) -> bool:
    description = error.description.lower()
    return any(text in description for text in texts)


def refused_append(error: ApiError, subject: str) -> BrokerError:
    """Return the error of an append that the stream has refused."""
    text = f"{error.description} (error {error.err_code})"
    if error.err_code in LOST_COMPARE_AND_SET:
        return WrongSequence(
            f"append to {subject!r} lost: {text}. Read the newest record and decide again"
        )
    if error.err_code in FULL:
        return StreamFull(
            f"the server has no room for the message for {subject!r}: {text}. Its disk space is "
            "used up, as far as `max_file_store` lets it (three quarters of the disk, if nothing "
            "else is configured); make room, or raise that limit"
        )
    if is_full(error):
        return StreamFull(
            f"the stream of {subject!r} is full: {text}. Try again when it was worked off, or "
            "raise its limit"
        )
    if (disk := disk_error(error, f"the message for {subject!r}")) is not None:
        return disk
    return StreamRefused(f"the stream refuses the message for {subject!r}: {text}")


def refused_api(error: ApiError, stream: str = "", consumer: str = "") -> BrokerError:
    """Return the error of an administrative request about a stream or consumer."""
    text = f"{error.description} (error {error.err_code})"
    if error.err_code == STREAM_NOT_FOUND:
        return StreamNotFound(stream)
    if error.err_code == CONSUMER_NOT_FOUND:
        return ConsumerNotFound(stream, consumer)
    if error.err_code in DISABLED:
        return JetStreamDisabled(
            f"this account of the server keeps no streams: {text}. Enable JetStream for it"
        )
    if (disk := disk_error(error, f"a change of stream {stream!r}")) is not None:
        return disk
    if consumer and (error.err_code in CONSUMER_CONFLICTS or error.code in (400, 500)):
        return ConsumerConflict(
            f"consumer {consumer!r} of stream {stream!r} cannot be declared so: {text}. Change the "
            "declaration, or delete the consumer first"
        )
    if is_full(error):
        return StreamFull(
            f"the server has no room for stream {stream!r}: {text}. Lower its limits or raise the "
            "server's `max_file_store`"
        )
    return StreamRefused(f"the server refuses the request about stream {stream!r}: {text}")


def violation(text: str) -> tuple[str, str] | None:
    """Return (verb, subject) of a violation of permissions, or None if the text is none.

    The subject is in lower case: nats-py has folded it.
    """
    found = _VIOLATION.search(text)
    return (found["verb"].lower(), found["subject"].lower()) if found else None


def denied(verb: str, subject: str) -> PermissionDenied:
    """Return the error of a user who may not do that."""
    doing = "publish to" if verb == "publish" else "subscribe to"
    return PermissionDenied(
        f"the server refuses this user to {doing} {subject!r}; add that permission in "
        "the server's configuration (deploy/nats), or check the address and credentials"
    )
