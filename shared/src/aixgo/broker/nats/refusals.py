"""What the server refuses, as errors of Aixgo: codes of JetStream, missing permissions."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from aixgo.errors import (
    BrokerError,
    ConsumerConflict,
    ConsumerNotFound,
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
FULL: Final = {10023, 10028, 10047, 10077}
DISABLED: Final = {10039, 10076}
CONSUMER_CONFLICTS: Final = {10012, 10013, 10099, 10100, 10105, 10138, 10148}

TRANSIENT: Final = {10049, 10167}
"""Worth trying again although not 503: a store that is still being removed, an ingest queue."""

_VIOLATION = re.compile(
    r"permissions violation for (?P<verb>publish|subscription) to \"(?P<subject>[^\"]+)\"",
    re.IGNORECASE,
)


def is_transient(error: ApiError) -> bool:
    """Say whether the same request may succeed soon: an election, a start, a busy server."""
    if error.err_code in FULL or error.err_code in DISABLED:
        return False
    return error.code == 503 or error.err_code in TRANSIENT


def refused_append(error: ApiError, subject: str) -> BrokerError:
    """Return the error of an append that the stream has refused."""
    text = f"{error.description} (error {error.err_code})"
    if error.err_code in LOST_COMPARE_AND_SET:
        return WrongSequence(
            f"append to {subject!r} lost: {text}. Read the newest record and decide again"
        )
    if error.err_code in FULL:
        return StreamFull(
            f"the stream of {subject!r} is full: {text}. Try again when it was worked off, or "
            "raise its limit"
        )
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
    if consumer and (error.err_code in CONSUMER_CONFLICTS or error.code in (400, 500)):
        return ConsumerConflict(
            f"consumer {consumer!r} of stream {stream!r} cannot be declared so: {text}. Change the "
            "declaration, or delete the consumer first"
        )
    if error.err_code in FULL:
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
    """Return the error of somebody who may not do that."""
    doing = "publish to" if verb == "publish" else "subscribe to"
    return PermissionDenied(
        f"the server refuses this user to {doing} {subject!r}; give the user that permission in "
        "the server's configuration (deploy/nats), or check the address and credentials"
    )
