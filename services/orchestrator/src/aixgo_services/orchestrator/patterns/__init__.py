"""Every pattern by its name: the keys that it takes, and the function that it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aixgo import Context, Message, Reply
from aixgo_services.orchestrator.patterns._shared import PatternConfig
from aixgo_services.orchestrator.patterns.router import RouterConfig, router
from aixgo_services.orchestrator.patterns.sequential import SequentialConfig, sequential


@dataclass(frozen=True)
class Pattern:
    """A pattern: `run` gets an instance of `config`, the message, and the context."""

    config: type[PatternConfig]
    run: Callable[[Any, Message, Context], Awaitable[Reply]]


PATTERNS: dict[str, Pattern] = {
    "router": Pattern(RouterConfig, router),
    "sequential": Pattern(SequentialConfig, sequential),
}
