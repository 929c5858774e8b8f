"""What people declare of an agent's memory."""

from __future__ import annotations

from aixgo.config.durations import PositiveDuration
from aixgo.config.options import Options


class MemorySpec(Options):
    """How an agent remembers texts by what they mean (`ctx.memory`)."""

    embedding_model: str = ""
    """`provider/model` of the embeddings; without it the agent's own `model`."""
    ttl: PositiveDuration | None = None
    """Time for which a text is remembered; without it until the process ends."""
