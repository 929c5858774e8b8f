"""Random histories of durable calls, on the memory broker and on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from aixgo.envelope import new_id
from aixgo.errors import RequestTimeout
from aixgo.subjects import Names
from aixgo.testing.broker_checks import Backend
from aixgo.testing.broker_checks.memory_backend import MemoryBackend
from aixgo.testing.virtual_time import VirtualTimeLoop

from ._protocol_machine import ProtocolMachine
from ._protocol_model import REAL, VIRTUAL
from ._sabotage import Behind, Sabotaged
from ._sabotage_of_the_protocol import PROTOCOL, decisions_are_left_to_replicas


def explore(
    make: Callable[[], ProtocolMachine], *, examples: int, steps: int, shrink: bool = True
) -> None:
    run_state_machine_as_test(
        make,  # type: ignore[arg-type]  # it calls it; a factory is as good as a class
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            report_multiple_bugs=False,  # it would go on as long again to look for a second one
        ),
    )


def in_memory() -> ProtocolMachine:
    return ProtocolMachine(VirtualTimeLoop, MemoryBackend(), Names("machine"), VIRTUAL)


@pytest.mark.parametrize(
    "examples", [pytest.param(30, id="few"), pytest.param(120, id="many", marks=pytest.mark.long)]
)
def test_on_the_memory_broker(examples: int) -> None:
    explore(in_memory, examples=examples, steps=40)


def with_replicas_that_are_behind() -> ProtocolMachine:
    backend = Sabotaged(Behind, MemoryBackend())
    return ProtocolMachine(VirtualTimeLoop, backend, Names("machine"), VIRTUAL)


@pytest.mark.long
def test_on_replicas_that_are_behind() -> None:
    explore(with_replicas_that_are_behind, examples=60, steps=40)


def test_a_look_at_a_replica_that_decides_something_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decisions_are_left_to_replicas(monkeypatch)
    with pytest.raises((AssertionError, RequestTimeout)):  # what stands is refused, and not found
        explore(with_replicas_that_are_behind, examples=3_000, steps=40, shrink=False)


@pytest.mark.slow
def test_long_histories_on_the_memory_broker() -> None:
    explore(in_memory, examples=600, steps=80)


@pytest.mark.nats
@pytest.mark.long
def test_on_a_real_server(request: pytest.FixtureRequest) -> None:
    backend: Backend = request.getfixturevalue("nats")
    names = Names(f"m{new_id()[-12:]}")

    def machine() -> ProtocolMachine:
        return ProtocolMachine(asyncio.new_event_loop, backend, names, REAL)

    explore(machine, examples=10, steps=25)
    asyncio.run(remove(backend, names))


async def remove(backend: Backend, names: Names) -> None:
    """Give the server back what it reserved for a namespace."""
    async with backend.connect() as broker:
        for stream in await broker.stream_names():
            if f"aixgo-{names.namespace}" in stream:
                await broker.delete_stream(stream)


RARE = ("nobody_notices_a_deadline",)
"""Found by chance within minutes, not seconds: run with `-m slow`."""


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param(
            one,
            id=one.__name__,
            marks=pytest.mark.slow if one.__name__ in RARE else pytest.mark.long,
        )
        for one in PROTOCOL
    ],
)
def test_a_broken_protocol_is_found(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    with pytest.raises(AssertionError):
        explore(in_memory, examples=3_000, steps=40, shrink=False)
