"""Errors of stores outside of the broker."""

from __future__ import annotations

from .base import AixgoError


class StoreError(AixgoError):
    """A store refuses what it was asked: its schema, its rights or its settings are wrong."""

    code = "store"


class StoreUnavailable(StoreError):
    """A store cannot be reached at this moment."""

    code = "store_unavailable"
    retryable = True
