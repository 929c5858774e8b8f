"""What all patterns share: their config's base, and what they say about what they used."""

from __future__ import annotations

from typing import Any

import msgspec

from aixgo import Context, Message
from aixgo.config.agents import Options


class PatternConfig(Options):
    """The keys of one pattern."""

    def calls(self) -> tuple[str, ...]:
        """Return the agents that the pattern may call, as often as they are named."""
        raise TypeError(f"{type(self).__name__} does not say which agents it calls")


def payload_of(message: Message) -> msgspec.Raw:
    """Return a message's payload as it came, to be passed on without being decoded."""
    return msgspec.Raw(message.envelope.body)


def used(ctx: Context) -> dict[str, Any]:
    """Return the metadata about cost and tokens; `cost_usd` is None while a part is unknown."""
    return {"cost_usd": ctx.usage.cost, "tokens_total": ctx.usage.total_tokens}
