"""Leases: one process does what all could do, and another one if it dies."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aixgo.broker.keyvalue import Bucket
from aixgo.errors import WrongSequence


@asynccontextmanager
async def lease(bucket: Bucket, key: str, seconds: int) -> AsyncGenerator[bool, None]:
    """Yield whether this process has the lease; it is given back at the end of the block.

    Args:
        key: in the `leases` bucket; those of calls have a dot.
        seconds: after which the lease of a process that died is free. Who works for longer may have
            company, so what it does must bear that.
    """
    try:
        await bucket.create(key, b"", ttl=seconds)
    except WrongSequence:
        yield False
        return
    try:
        yield True
    finally:
        await bucket.delete(key)
