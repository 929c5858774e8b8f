"""What a pattern is: its own keys, and an async function over a `Context`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from aixgo import Context, Message, Reply
from aixgo.config.agents import Options


class PatternOptions(Options):
    """The keys of one pattern; `pattern` itself is a `Literal` of its name."""

    pattern: str
    """Which pattern it runs."""

    def calls(self) -> tuple[str, ...]:
        """Return the agents that the pattern may call, as often as they are named."""
        raise TypeError(f"{type(self).__name__} does not say which agents it calls")


@dataclass(frozen=True)
class Pattern:
    """A pattern: `run` gets an instance of `options`, the message, and the context."""

    options: type[PatternOptions]
    run: Callable[[Any, Message, Context], Awaitable[Reply]]


def payload_of(message: Message) -> msgspec.Raw:
    """Return a message's payload as it came, to be passed on without being decoded."""
    return msgspec.Raw(message.envelope.body)


def used(ctx: Context) -> dict[str, Any]:
    """Return the metadata about cost and tokens; `cost_usd` is None while a part is unknown."""
    return {"cost_usd": ctx.usage.cost, "tokens_total": ctx.usage.total_tokens}
