"""What users and adapter authors test with; imports no test framework and no client library.

`simulate` runs your agents with faults from a seed, `broker_checks` holds the promises of the
broker port, `virtual_time` a loop whose time costs none. Everything is imported when it is asked
for, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aixgo.testing.simulation import (
        At,
        Faults,
        Report,
        SimulatedSystem,
        SimulationFailed,
        simulate,
        simulate_everywhere,
    )

__all__ = [
    "At",
    "Faults",
    "Report",
    "SimulatedSystem",
    "SimulationFailed",
    "simulate",
    "simulate_everywhere",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module("aixgo.testing.simulation"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
