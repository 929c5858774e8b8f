"""What users and adapter authors test with; imports no test framework and no client library.

`run_local` runs your agents for a test, `simulate` runs them with faults from a seed,
`in_virtual_time` makes waiting free, `eventually` waits for a condition, `NatsServer` starts a real
server. `broker_checks` and `model_checks` hold the promises of the ports. Everything is imported
when it is asked for, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aixgo.models.scripted import ScriptedModel
    from aixgo.testing.local import run_local
    from aixgo.testing.nats_server import NatsServer
    from aixgo.testing.simulation import (
        At,
        Faults,
        Report,
        SimulatedSystem,
        SimulationFailed,
        simulate,
        simulate_everywhere,
    )
    from aixgo.testing.virtual_time import in_virtual_time, run_virtual
    from aixgo.testing.waiting import eventually

__all__ = [
    "At",
    "Faults",
    "NatsServer",
    "Report",
    "ScriptedModel",
    "SimulatedSystem",
    "SimulationFailed",
    "eventually",
    "in_virtual_time",
    "run_local",
    "run_virtual",
    "simulate",
    "simulate_everywhere",
]

_ELSEWHERE = {
    "NatsServer": "aixgo.testing.nats_server",
    "ScriptedModel": "aixgo.models.scripted",
    "eventually": "aixgo.testing.waiting",
    "in_virtual_time": "aixgo.testing.virtual_time",
    "run_local": "aixgo.testing.local",
    "run_virtual": "aixgo.testing.virtual_time",
}
"""Where a name is defined that is not one of the simulation's."""


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "aixgo.testing.simulation")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
