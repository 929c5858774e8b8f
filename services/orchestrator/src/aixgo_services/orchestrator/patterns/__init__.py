"""Every pattern by its name. A pattern is one file: its keys, its errors, and its function."""

from __future__ import annotations

from aixgo_services.orchestrator.patterns.pattern import Pattern
from aixgo_services.orchestrator.patterns.router import RouterOptions, router
from aixgo_services.orchestrator.patterns.sequential import SequentialOptions, sequential

PATTERNS: dict[str, Pattern] = {
    "router": Pattern(RouterOptions, router),
    "sequential": Pattern(SequentialOptions, sequential),
}
