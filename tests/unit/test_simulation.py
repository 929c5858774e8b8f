"""Simulation: the same seed is the same story, planted bugs are found, sound agents pass."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aixgo import Agent, App, ConfigError, Context, Message
from aixgo.calls.results import Results
from aixgo.calls.worker import Worker
from aixgo.envelope import Envelope, encode
from aixgo.errors import InvalidPayload
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import (
    At,
    Faults,
    SimulatedSystem,
    SimulationFailed,
    simulate,
    simulate_everywhere,
)
from aixgo.testing.expect import SOON_SECONDS
from aixgo.testing.simulation import _loop

ONLY_CRASHES = Faults(crash=0.1, drop=0, duplicate=0, delay=0, slow_model=0, disconnect=0, outage=0)
QUIET = Faults(crash=0, drop=0, duplicate=0, delay=0, slow_model=0, disconnect=0, outage=0)


async def shout(message: Message, ctx: Context) -> str:
    return message.text.upper()


async def write(message: Message, ctx: Context) -> str:
    draft = await ctx.model.chat(message.text)
    parts = await ctx.gather(ctx.call("shout", draft.text), ctx.call("shout", "b"))
    number = await ctx.record(lambda: random.randint(1, 6))
    return f"{' '.join(part.text for part in parts)} {0 < number < 7}"


def writers() -> list[Agent]:
    return [Agent("shout", shout), Agent("write", write, model="scripted/x")]


def model() -> ScriptedModel:
    return ScriptedModel([lambda request: f"draft of {request.messages[-1].text}"], repeat=True)


async def writing(system: SimulatedSystem) -> None:
    results = await asyncio.gather(*(system.call("write", text) for text in ("one", "two")))
    assert [result.text for result in results] == ["DRAFT OF ONE B True", "DRAFT OF TWO B True"]


def calls(agent: str) -> Callable[[SimulatedSystem], Awaitable[None]]:
    async def scenario(system: SimulatedSystem) -> None:
        await system.call(agent, "x")

    return scenario


# -- what holds ------------------------------------------------------------------------------------


def test_sound_agents_survive_every_fault_of_many_seeds() -> None:
    report = simulate(writing, agents=writers, model=model, seeds=range(40))
    assert (report.seeds, report.runs) == (40, 80)
    assert report.executions >= 40 * 2 * 4
    assert report.repeated > 0
    assert report.model_calls >= 80
    kinds = {"crash", "drop", "duplicate", "delay", "slow_model", "disconnect", "outage"}
    assert set(report.faults) == kinds
    assert "40 seeds, 80 runs" in str(report)


@pytest.mark.parametrize("kind", ["crash", "drop", "duplicate", "delay", "disconnect", "outage"])
def test_a_fault_that_is_asked_for_alone_comes_alone(kind: str) -> None:
    rates = dict.fromkeys(
        ["crash", "drop", "duplicate", "delay", "slow_model", "disconnect", "outage"], 0.0
    )
    report = simulate(
        writing,
        agents=writers,
        model=model,
        seeds=range(8),
        faults=Faults(**{**rates, kind: 0.15}),
    )
    assert set(report.faults) == {kind}


def test_a_slow_model_takes_virtual_time_only() -> None:
    began = time.perf_counter()
    faults = Faults(
        crash=0, drop=0, duplicate=0, delay=0, slow_model=1, disconnect=0, outage=0, until=1e6
    )
    report = simulate(writing, agents=writers, model=model, seeds=[1], faults=faults)
    assert report.faults == {"slow_model": 2}
    assert report.virtual_seconds > 1
    assert time.perf_counter() - began < report.virtual_seconds + SOON_SECONDS


def test_a_process_can_die_at_every_single_operation() -> None:
    report = simulate_everywhere(writing, agents=writers, model=model)
    assert report.faults["crash"] == report.seeds - 1 > 60  # the first counts the operations


def test_the_server_can_die_at_every_operation_of_one_agent() -> None:
    report = simulate_everywhere(writing, agents=writers, model=model, of=["write"], what="outage")
    assert report.faults == {"outage": report.seeds - 1}


def test_an_exact_place_is_hit_once_and_the_process_comes_back() -> None:
    report = simulate(
        writing, agents=writers, model=model, seeds=[0], faults=At("write.1", 4, after=True)
    )
    trace = [(event.process, event.what) for event in report.traces[0]]
    assert trace.count(("write.1", "crash")) == 1
    assert trace.count(("write.1", "started")) == 2
    assert report.repeated == 1


def test_an_app_can_be_simulated_as_it_is_deployed() -> None:
    def app() -> App:
        return App(writers(), namespace="prod", ack_wait=5.0, model=model())

    report = simulate(writing, app=app, model=model, seeds=range(5))
    assert report.runs == 10


# -- the same again --------------------------------------------------------------------------------


def digest(seed: int) -> str:
    """Return a digest of everything that happens in a seed."""
    trace = simulate(writing, agents=writers, model=model, seeds=[seed]).traces[seed]
    return hashlib.sha256("\n".join(map(str, trace)).encode()).hexdigest()


@pytest.mark.long
def test_the_same_seed_is_the_same_story_in_every_process() -> None:
    code = (
        f"import importlib.util as u; spec = u.spec_from_file_location('t', {__file__!r}); "
        "t = u.module_from_spec(spec); spec.loader.exec_module(t); "
        "print(t.digest(5), t.digest(6))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4711")
    }
    assert seen == {f"{digest(5)} {digest(6)}\n"}


def test_another_seed_is_another_story() -> None:
    assert len({digest(seed) for seed in range(5)}) == 5


def test_what_is_random_comes_from_the_seed_and_only_inside() -> None:
    drawn: list[tuple[Any, ...]] = []

    async def draw(message: Message, ctx: Context) -> str:
        drawn.append((random.random(), uuid.uuid4(), os.urandom(4), time.time(), time.time_ns()))
        return "drawn"

    random.seed(1)
    before = random.getstate()
    for _ in range(2):
        simulate(calls("draw"), agents=lambda: [Agent("draw", draw)], seeds=[3], faults=QUIET)
    assert drawn[0] == drawn[1]
    assert random.getstate() == before
    assert os.urandom(16) != os.urandom(16)
    assert uuid.uuid4() != drawn[0][1]
    assert drawn[0][3] - time.time() > 3600  # virtual time begins in 2030


# -- bugs that are found ---------------------------------------------------------------------------


async def careless(message: Message, ctx: Context) -> str:
    amount = random.randint(1, 1_000_000)  # the bug: chosen again when the handler runs again
    return (await ctx.call("shout", f"{amount}")).text


async def careful(message: Message, ctx: Context) -> str:
    amount = await ctx.record(lambda: random.randint(1, 1_000_000))
    return (await ctx.call("shout", f"{amount}")).text


def test_a_random_choice_outside_of_a_step_is_found() -> None:
    def agents() -> list[Agent]:
        return [Agent("shout", shout), Agent("pay", careless)]

    with pytest.raises(SimulationFailed) as failed:
        simulate(calls("pay"), agents=agents, seeds=range(200), faults=ONLY_CRASHES)
    failure = failed.value
    assert getattr(failure.error, "cause", "") == "replay_mismatch"
    assert f"seed {failure.seed}: RemoteError" in str(failure)
    assert "pay." in str(failure)
    assert "crash" in str(failure)
    assert f"seeds=[{failure.seed}]" in str(failure)

    with pytest.raises(SimulationFailed) as again:
        simulate(calls("pay"), agents=agents, seeds=[failure.seed], faults=ONLY_CRASHES)
    assert str(again.value) == str(failure)
    assert list(again.value.trace) == list(failure.trace)


def test_the_choice_inside_a_step_is_not() -> None:
    def agents() -> list[Agent]:
        return [Agent("shout", shout), Agent("pay", careful)]

    simulate(calls("pay"), agents=agents, seeds=range(50), faults=ONLY_CRASHES)


def test_an_effect_outside_of_a_step_is_found_with_the_exact_place() -> None:
    charged: list[str] = []

    async def charge(message: Message, ctx: Context) -> str:
        charged.append(message.text)  # the bug
        return (await ctx.call("shout", message.text)).text

    def agents() -> list[Agent]:
        charged.clear()
        return [Agent("shout", shout), Agent("charge", charge)]

    async def scenario(system: SimulatedSystem) -> None:
        await system.call("charge", "x")
        assert charged == ["x"]

    with pytest.raises(SimulationFailed) as failed:
        simulate_everywhere(scenario, agents=agents)
    assert "faults=At(process='charge.1'" in str(failed.value)


def test_a_run_that_never_ends_is_told_with_what_is_open() -> None:
    async def wait(message: Message, ctx: Context) -> str:
        return str(await ctx.ask_human("may I?"))

    async def scenario(system: SimulatedSystem) -> None:
        await system.send("wait", "x", timeout=1e6)

    with pytest.raises(SimulationFailed, match=r"not over after 500 virtual.*call\.wait\."):
        simulate(scenario, agents=lambda: [Agent("wait", wait)], seeds=[1], limit=500)


def test_a_scenario_that_hangs_is_told() -> None:
    async def scenario(system: SimulatedSystem) -> None:
        await asyncio.Event().wait()

    with pytest.raises(SimulationFailed, match=r"not over after .* only the scenario itself"):
        simulate(scenario, agents=lambda: [Agent("shout", shout)], seeds=[1])


def test_a_task_that_spins_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_loop, "MOST_TURNS", 20_000)

    async def spin(message: Message, ctx: Context) -> str:
        for _ in itertools.count():
            await asyncio.sleep(0)
        return "never"

    with pytest.raises(SimulationFailed, match="a task spins"):
        simulate(calls("spin"), agents=lambda: [Agent("spin", spin)], seeds=[1], faults=QUIET)


def test_a_failing_run_fails_its_seed() -> None:
    async def refuse(message: Message) -> str:
        raise InvalidPayload("no")

    with pytest.raises(SimulationFailed, match="nothing\nthe same again: simulate") as failed:
        simulate(calls("refuse"), agents=lambda: [Agent("refuse", refuse)], faults=QUIET)
    assert failed.value.seed == 0


# -- promises of the runtime that are watched ------------------------------------------------------


def test_a_result_that_is_replaced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def overwrite(self: Results, agent: str, result: Envelope, **options: Any) -> Envelope:
        await self._broker.append(
            self._names.result(agent, result.run, result.step), encode(result)
        )
        return result

    monkeypatch.setattr(Results, "settle", overwrite)
    with pytest.raises(SimulationFailed, match="was replaced: the first one must stand"):
        simulate(writing, agents=writers, model=model, seeds=range(50))


def test_a_finished_step_that_runs_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = Worker._outcome

    async def without_a_look(self: Worker, work: Any) -> Any:
        class Blind:
            def __getattr__(self, name: str) -> Any:
                return getattr(results, name)

            async def stands(self, *step: str, decisive: bool = False) -> bool:
                return False

        results, self._results = self._results, Blind()  # type: ignore[assignment]  # broken
        try:
            return await outcome(self, work)
        finally:
            self._results = results

    monkeypatch.setattr(Worker, "_outcome", without_a_look)
    with pytest.raises(SimulationFailed, match="again, although its result was recorded"):
        simulate(writing, agents=writers, model=model, seeds=range(50))


def test_a_process_that_dies_has_no_last_words() -> None:
    said: list[str] = []

    async def talk(message: Message, ctx: Context) -> str:
        try:
            await ctx.call("shout", "x")
        except BaseException as error:
            said.append(repr(error))
            raise
        finally:
            said.append("finally")
        return "done"

    async def scenario(system: SimulatedSystem) -> None:
        await system.call("talk", "x")
        assert said == ["finally"]  # of the second execution

    agents = [Agent("talk", talk), Agent("shout", shout)]
    report = simulate(
        scenario, agents=lambda: agents, seeds=[1], faults=At("talk.1", 3, after=True)
    )
    assert report.faults == {"crash": 1}


def test_a_scenario_can_kill_too() -> None:
    async def slow(message: Message, ctx: Context) -> str:
        await asyncio.sleep(1)
        return f"{ctx.attempt}"

    async def scenario(system: SimulatedSystem) -> None:
        assert system.processes == ["slow.1"]
        async with asyncio.TaskGroup() as group:
            call = group.create_task(system.call("slow", "x"))
            await asyncio.sleep(0.5)
            system.kill("slow.1")
        assert call.result().text == "2"
        assert system.now > 30  # the time after which another process may take over

    simulate(scenario, agents=lambda: [Agent("slow", slow)], seeds=[1], faults=QUIET, processes=1)


# -- what is refused ------------------------------------------------------------------------------


async def test_inside_a_coroutine_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="plain `def test_"):
        simulate(writing, agents=writers, model=model)


def test_real_models_are_not_asked() -> None:
    with pytest.raises(ConfigError, match="asks no real provider"):
        simulate(writing, agents=writers)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "needs either `agents` or `app`"),
        ({"agents": writers, "app": lambda: App(writers())}, "needs either"),
        ({"agents": writers, "processes": 0}, "processes is 0"),
        ({"agents": writers, "limit": 0}, "limit 0 s"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        simulate(writing, **options)


def test_a_place_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"no process 'writes\.1'; there are: shout\.1, shout\.2"):
        simulate(writing, agents=writers, model=model, faults=At("writes.1", 1))


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_rate_is_a_chance(rate: float) -> None:
    with pytest.raises(ConfigError, match=f"'drop' is {rate}"):
        Faults(drop=rate)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"agents": writers, "seeds": []}, "seeds is empty"),
        ({"agents": [Agent("a", write)]}, r"agents is \[Agent\('a'.*anew for each seed"),
        ({"app": App([Agent("a", write)])}, "app is <.*anew for each seed"),
    ],
)
def test_a_simulation_of_nothing_is_one_clear_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        simulate(writing, **options)
