"""Every promise of the broker port, on every adapter."""

from __future__ import annotations

import asyncio
import inspect
from typing import cast

import pytest

from aixgo.testing import broker_checks
from aixgo.testing.broker_checks import Backend, Check, Stage
from aixgo.testing.broker_checks.memory_backend import MemoryBackend

pytestmark = pytest.mark.usefixtures("nothing_blocks_the_loop")

NATS_ADAPTERS = ["nats", "nats_without_fast_path"]
"""Fixtures of `conftest.py`."""


def meaningful(kind: str) -> list[Check]:
    return [check for check in broker_checks.ALL if not broker_checks.no_meaning(check, kind)]


def meaningless(kind: str) -> list[Check]:
    return [check for check in broker_checks.ALL if broker_checks.no_meaning(check, kind)]


def selected(request: pytest.FixtureRequest, adapter: str) -> list[Check]:
    """Return the checks of the selected tests of this adapter."""
    same = test_the_nats_broker_keeps_its_promises.__name__
    return [
        cast(Check, item.callspec.params["check"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == same
        and item.callspec.params["adapter"] == adapter
    ]


def name_of(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.virtual_time
@pytest.mark.parametrize("check", meaningful("memory"), ids=name_of)
async def test_the_memory_broker_keeps_its_promises(check: Check) -> None:
    async with Stage(MemoryBackend()) as stage:
        await check(stage)


@pytest.fixture(scope="session")
def outcomes() -> dict[str, dict[Check, Exception | None]]:
    """What the checks on real servers raised, by adapter; filled by the first test of each."""
    return {}


@pytest.mark.nats
@pytest.mark.parametrize("check", meaningful("nats"), ids=name_of)
@pytest.mark.parametrize("adapter", NATS_ADAPTERS)
@pytest.mark.long(only=("nats_without_fast_path",))
def test_the_nats_broker_keeps_its_promises(
    request: pytest.FixtureRequest,
    outcomes: dict[str, dict[Check, Exception | None]],
    adapter: str,
    check: Check,
) -> None:
    """The checks mostly wait for real time, so all that were selected run beside each other."""
    if adapter not in outcomes:
        backend: Backend = request.getfixturevalue(adapter)
        outcomes[adapter] = asyncio.run(
            broker_checks.check_all(backend, selected(request, adapter))
        )
    if error := outcomes[adapter][check]:
        raise error


@pytest.mark.parametrize("check", meaningless("memory"), ids=name_of)
def test_a_promise_without_meaning_on_the_memory_broker_says_why(check: Check) -> None:
    because = broker_checks.no_meaning(check, "memory")
    assert because is not None
    assert len(because.split()) > 5


def test_every_promise_has_a_meaning_on_a_real_server() -> None:
    assert meaningless("nats") == []


def test_the_checks_cover_exactly_the_lines_of_the_list() -> None:
    assert sorted(broker_checks.PROMISES) == list(range(1, 43))
    cited = set().union(*(broker_checks.lines(check) for check in broker_checks.ALL))
    assert cited == set(broker_checks.PROMISES)


def test_every_check_cites_one_line_and_has_a_name_of_its_own() -> None:
    for check in broker_checks.ALL:
        assert len(broker_checks.lines(check)) == 1, check.__name__
        assert (inspect.getdoc(check) or "").startswith("Promise "), check.__name__
    names = [check.__name__ for check in broker_checks.ALL]
    assert len(set(names)) == len(names)
