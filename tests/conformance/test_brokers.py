"""Every promise of the broker port, on every adapter."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from aixgo.testing import broker_checks
from aixgo.testing.broker_checks import Backend, Check, Stage
from aixgo.testing.virtual_time import VirtualTimeLoop

ADAPTERS = {"memory": "memory", "nats": "nats", "nats-without-fast-path": "nats"}
"""Adapters by name, with the kind of broker that each is."""


def product(*, meaningful: bool) -> list[Any]:
    """Return (check, adapter) for every promise with (or without) a meaning on that adapter."""
    return [
        pytest.param(
            check,
            adapter,
            id=f"{check.__name__}-{adapter}",
            marks=[] if kind == "memory" else [pytest.mark.nats],
        )
        for adapter, kind in ADAPTERS.items()
        for check in broker_checks.ALL
        if (broker_checks.no_meaning(check, kind) is None) == meaningful
    ]


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run the memory broker in virtual time, where waiting costs nothing; sockets in real time."""
    if request.node.callspec.params["adapter"] == "memory":
        return ("asyncio", {"loop_factory": VirtualTimeLoop})
    return ("asyncio", {})


@pytest.mark.parametrize(("check", "adapter"), product(meaningful=True))
async def test_every_broker_keeps_its_promises(backend: Backend, check: Check) -> None:
    async with Stage(backend) as stage:
        await check(stage)


@pytest.mark.parametrize(("check", "adapter"), product(meaningful=False))
def test_a_promise_without_meaning_on_an_adapter_says_why(check: Check, adapter: str) -> None:
    because = broker_checks.no_meaning(check, ADAPTERS[adapter])
    assert because is not None
    assert len(because.split()) > 5


def test_the_checks_cover_exactly_the_lines_of_the_list() -> None:
    assert sorted(broker_checks.PROMISES) == list(range(1, 43))
    cited = set().union(*(broker_checks.lines(check) for check in broker_checks.ALL))
    assert cited == set(broker_checks.PROMISES)


def test_every_check_cites_one_line_and_has_a_name_of_its_own() -> None:
    for check in broker_checks.ALL:
        assert len(broker_checks.lines(check)) == 1, check.__name__
        summary = (inspect.getdoc(check) or "").splitlines()[0]
        assert summary.startswith("§10 line"), check.__name__
    names = [check.__name__ for check in broker_checks.ALL]
    assert len(set(names)) == len(names)
