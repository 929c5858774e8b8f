"""Large payloads travel through the object store; handlers do not notice.

The key is the payload's SHA-256, so storing the same bytes twice is the same object, and a zombie's
result can never replace the bytes that the winner's claim check names.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from aixgo.broker.objects import ObjectStore
from aixgo.broker.port import Broker
from aixgo.envelope import CLAIM_CHECK_BYTES, Blob, Envelope
from aixgo.errors import BodyTooLarge
from aixgo.subjects import BLOBS, Names

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of a payload: it is held in memory whole, several times, by everybody whom it passes."""


def fits(envelope: Envelope) -> bool:
    """Whether the envelope can travel as it is; asked first, it saves most calls a coroutine."""
    payload = envelope.payload
    return payload is msgspec.UNSET or memoryview(payload).nbytes <= CLAIM_CHECK_BYTES


def travelling_bytes(envelope: Envelope) -> int:
    """Return the bytes of the payload that travel in the envelope itself."""
    payload = envelope.payload
    size = 0 if payload is msgspec.UNSET else memoryview(payload).nbytes
    return size if size <= CLAIM_CHECK_BYTES else 0


def claim_of(body: bytes) -> Blob:
    """Return the claim check of a payload that travelled through the object store before."""
    key = hashlib.sha256(body).hexdigest()
    return Blob(key=key, size=len(body), sha256=key)


class PayloadStore:
    """Moves payloads over `CLAIM_CHECK_BYTES` into the object store of a namespace and back."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self._store = ObjectStore(broker, names.bucket(BLOBS))

    async def leave(self, envelope: Envelope) -> Envelope:
        """Return the envelope as it can travel: unchanged, or with a claim check.

        Raises:
            BodyTooLarge: the payload is over `MAX_BODY_BYTES`.
        """
        payload = envelope.payload
        if payload is msgspec.UNSET or fits(envelope):
            return envelope
        body = bytes(payload)
        _check(envelope, len(body))
        blob = await self._store.put(hashlib.sha256(body).hexdigest(), body)
        return replace(envelope, payload=msgspec.UNSET, blob=blob)

    async def fetch(self, envelope: Envelope) -> Envelope:
        """Return the envelope with its payload in place.

        Raises:
            BlobMissing: the object store forgot it (older than 31 days).
            BlobCorrupt: size or SHA-256 differ.
            BodyTooLarge: it is over `MAX_BODY_BYTES`; nothing was read.
        """
        if envelope.blob is None:
            return envelope
        _check(envelope, envelope.blob.size)
        body = await self._store.get(envelope.blob.key)
        return replace(envelope, payload=msgspec.Raw(body), blob=None)


def _check(envelope: Envelope, size: int) -> None:
    if size > MAX_BODY_BYTES:
        who = envelope.target if envelope.kind == "call" else envelope.source
        raise BodyTooLarge(f"a {envelope.kind} of agent {who!r}", size, MAX_BODY_BYTES)
