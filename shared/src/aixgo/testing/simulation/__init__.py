"""Simulation: agents on a broker in memory, in virtual time, with faults that a seed decides.

from aixgo.testing import Faults, simulate

def test_the_desk_survives() -> None:
    print(simulate(scenario, agents=make_agents, seeds=range(100)))
"""

from aixgo.testing.simulation._faults import At, Faults
from aixgo.testing.simulation._report import Event, PromiseBroken, Report, SimulationFailed
from aixgo.testing.simulation._simulate import simulate, simulate_everywhere
from aixgo.testing.simulation._world import Scenario, SimulatedSystem

__all__ = [
    "At",
    "Event",
    "Faults",
    "PromiseBroken",
    "Report",
    "Scenario",
    "SimulatedSystem",
    "SimulationFailed",
    "simulate",
    "simulate_everywhere",
]
