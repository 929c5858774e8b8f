"""`simulate`: your agents, on a broker in memory, in virtual time, with faults from a seed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from aixgo.agents.agent import Agent
from aixgo.errors import ConfigError
from aixgo.hosting.app import App
from aixgo.hosting.gateway import given_gateway
from aixgo.models.bus import GATEWAY
from aixgo.models.port import Model
from aixgo.testing.simulation._faults import (
    NO_FAULTS,
    At,
    Chaos,
    ExactChaos,
    Faults,
    RandomChaos,
    Strikes,
)
from aixgo.testing.simulation._loop import SimulationLoop
from aixgo.testing.simulation._process import ObservedModel
from aixgo.testing.simulation._report import Report, SimulationFailed
from aixgo.testing.simulation._seeded import clean_slate, seeded
from aixgo.testing.simulation._world import Scenario, World

LIMIT_SECONDS = 3_600.0
"""Virtual seconds in which a scenario and everything that it began must end."""


def simulate(
    scenario: Scenario,
    *,
    agents: Callable[[], Iterable[Agent]] | None = None,
    app: Callable[[], App] | None = None,
    model: Callable[[], Model] | None = None,
    seeds: Iterable[int] = range(100),
    faults: Faults | At | Sequence[At] = Faults(),  # noqa: B008 - frozen
    processes: int = 2,
    limit: float = LIMIT_SECONDS,
) -> Report:
    """Run a scenario once for each seed; everything random in it comes from the seed.

    Every agent, and the model gateway, is served by processes of its own over a memory broker.
    They die, lose messages and come back; time is virtual, so waiting costs nothing. Beside what
    the scenario asserts, this is required of every seed: everything accepted finishes, the first
    result of a step stands, and no step is executed again whose result was recorded.

    Call it from a plain function, not from a coroutine: each seed has an event loop of its own.

    Args:
        scenario: `async def scenario(system)`: calls agents and asserts.
        agents: makes the agents anew for each seed.
        app: makes the whole system instead, such as `lambda: App.from_file("agents.yaml")`.
        model: makes the model that the gateway asks; needed when an agent calls models.
        faults: how likely each fault is, or exact places for it.
        processes: of each agent.
        limit: virtual seconds in which the scenario and all that it began must end.

    Raises:
        SimulationFailed: says the seed, what went wrong on purpose, and how to repeat it.
        ConfigError: the arguments do not fit together.
    """
    _check(agents, app, processes, limit)
    wanted = list(seeds)
    if not wanted:
        raise ConfigError("seeds is empty, so nothing would be tried; give at least one: seeds=[0]")
    make, total = _maker(agents, app, model), Report()
    for seed in wanted:
        total.add(_one(scenario, make, seed, faults, processes, limit))
    return total


def simulate_everywhere(
    scenario: Scenario,
    *,
    agents: Callable[[], Iterable[Agent]] | None = None,
    app: Callable[[], App] | None = None,
    model: Callable[[], Model] | None = None,
    of: Iterable[str] = (),
    what: Strikes = "crash",
    seed: int = 0,
    processes: int = 1,
    limit: float = LIMIT_SECONDS,
) -> Report:
    """Run a scenario once for each operation of each process, which is hit there.

    Before every operation and after it, one by one: no place is left to chance. The operations are
    counted in a run in which nothing goes wrong.

    Args:
        of: agents whose processes are hit; all without it.
        what: what hits them, as in `At`.

    Raises:
        SimulationFailed, ConfigError: as `simulate`.
    """
    _check(agents, app, processes, limit)
    make, wanted = _maker(agents, app, model), set(of)
    total = _one(scenario, make, seed, NO_FAULTS, processes, limit)
    for name, count in sorted(total.operations.items()):
        if wanted and name.rpartition(".")[0] not in wanted:
            continue
        for operation in range(1, count + 1):
            for after in (False, True):
                place = At(name, operation, after=after, what=what)
                report = _one(scenario, make, seed, place, processes, limit)
                report.traces.clear()  # of one seed, again and again
                total.add(report)
    return total


def _check(agents: object, app: object, processes: int, limit: float) -> None:
    if (agents is None) == (app is None):
        raise ConfigError(
            "simulate needs either `agents` or `app`, a function that makes them anew for each "
            "seed: simulate(scenario, agents=lambda: [Agent(…)])"
        )
    made = agents if agents is not None else app
    if not callable(made):
        name = "agents" if agents is not None else "app"
        raise ConfigError(
            f"{name} is {made!r:.60}; give a function that makes the {name} anew for each seed, "
            f"because nothing may be left of the seed before: {name}=lambda: …"
        )
    if processes < 1 or limit <= 0:
        raise ConfigError(
            f"processes is {processes} and limit {limit:g} s; there must be at least 1 process, "
            "and the limit must be above 0 s"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise ConfigError(
        "simulate has an event loop of its own for each seed, so it cannot be called inside a "
        "coroutine; call it from a plain `def test_…()`"
    )


def _maker(
    agents: Callable[[], Iterable[Agent]] | None,
    app: Callable[[], App] | None,
    model: Callable[[], Model] | None,
) -> Callable[[World], App]:
    """Return what makes the system of a seed, with a model whose calls are counted."""

    def make(world: World) -> App:
        made = App(agents()) if agents is not None else app() if app is not None else None
        assert made is not None
        if model is not None:
            made.agents[GATEWAY] = given_gateway(ObservedModel(world, model()))
        elif GATEWAY in made.agents and made.agents[GATEWAY].spec.role == GATEWAY:
            raise ConfigError(
                "an agent calls models, and a simulation asks no real provider; give it one: "
                "model=lambda: ScriptedModel(['yes'], repeat=True)"
            )
        return made

    return make


def _one(
    scenario: Scenario,
    make: Callable[[World], App],
    seed: int,
    faults: Faults | At | Sequence[At],
    processes: int,
    limit: float,
) -> Report:
    """Simulate one seed."""
    began = time.perf_counter()
    with clean_slate(), asyncio.Runner(loop_factory=SimulationLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulationLoop)
        with seeded(seed, loop):
            world = World(loop, make, _chaos(faults, seed), seed, limit, processes)
            _check_places(faults, world.names_of_processes)
            try:
                runner.run(world.run(scenario))
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                raise SimulationFailed(
                    seed, error, faults=world.faults, trace=world.events, again=_again(seed, faults)
                ) from error
            return world.report(time.perf_counter() - began)


def _check_places(faults: Faults | At | Sequence[At], there: Sequence[str]) -> None:
    places = [] if isinstance(faults, Faults) else [faults] if isinstance(faults, At) else faults
    for place in places:
        if place.process not in there:
            raise ConfigError(f"no process {place.process!r}; there are: {', '.join(there)}")


def _chaos(faults: Faults | At | Sequence[At], seed: int) -> Chaos:
    if isinstance(faults, Faults):
        return RandomChaos(faults, seed)
    return ExactChaos([faults] if isinstance(faults, At) else faults, seed)


def _again(seed: int, faults: Faults | At | Sequence[At]) -> str:
    """Return the arguments that make the same happen again."""
    exact = "" if isinstance(faults, Faults) else f", faults={faults!r}"
    return f"seeds=[{seed}]{exact}"
