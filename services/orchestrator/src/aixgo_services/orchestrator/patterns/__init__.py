"""Every pattern by its name. A pattern is one file: its keys, its errors, and its function.

A package brings a pattern with an entry point in the group `aixgo.patterns` that points to a
`Pattern`; its name is the one that documents use.
"""

from __future__ import annotations

from aixgo.config.installed import Installed
from aixgo_services.orchestrator.patterns.pattern import Pattern
from aixgo_services.orchestrator.patterns.router import RouterOptions, router
from aixgo_services.orchestrator.patterns.sequential import SequentialOptions, sequential

PATTERNS: Installed[Pattern] = Installed(
    "aixgo.patterns",
    "pattern",
    wanted="an aixgo_services.orchestrator.patterns.pattern.Pattern",
    fits=lambda found: isinstance(found, Pattern),
    shipped={
        "router": Pattern(RouterOptions, router),
        "sequential": Pattern(SequentialOptions, sequential),
    },
)
