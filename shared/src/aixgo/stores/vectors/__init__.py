"""Vectors: texts that are found again by what they mean."""

from __future__ import annotations

from aixgo.stores.vectors.port import Every, Filter, Is, Item, No, Scored, Some, VectorStore

__all__ = ["Every", "Filter", "Is", "Item", "No", "Scored", "Some", "VectorStore"]
