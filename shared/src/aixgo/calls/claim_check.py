"""Large payloads travel through the object store; handlers do not notice.

The key is the payload's SHA-256, so storing the same bytes twice is the same object, and a zombie's
result can never replace the bytes that the winner's claim check names.
"""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from aixgo.broker._port import Broker
from aixgo.broker.objects import ObjectStore
from aixgo.envelope import CLAIM_CHECK_BYTES, Envelope
from aixgo.subjects import BLOBS, Names


def fits(envelope: Envelope) -> bool:
    """Whether the envelope can travel as it is; asked first, it saves most calls a coroutine."""
    payload = envelope.payload
    return payload is msgspec.UNSET or memoryview(payload).nbytes <= CLAIM_CHECK_BYTES


class ClaimCheck:
    """Moves payloads over `CLAIM_CHECK_BYTES` into the object store of a namespace and back."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self._store = ObjectStore(broker, names.bucket(BLOBS))

    async def leave(self, envelope: Envelope) -> Envelope:
        """Return the envelope as it can travel: unchanged, or with a claim check."""
        payload = envelope.payload
        if payload is msgspec.UNSET or fits(envelope):
            return envelope
        body = bytes(payload)
        blob = await self._store.put(hashlib.sha256(body).hexdigest(), body)
        return replace(envelope, payload=msgspec.UNSET, blob=blob)

    async def fetch(self, envelope: Envelope) -> Envelope:
        """Return the envelope with its payload in place.

        Raises:
            BlobMissing: the object store forgot it (older than 7 days).
            BlobCorrupt: size or SHA-256 differ.
        """
        if envelope.blob is None:
            return envelope
        body = await self._store.get(envelope.blob.key)
        return replace(envelope, payload=msgspec.Raw(body), blob=None)
