"""What the broker's sessions do beyond the port: parts, lives, replicas, foreign records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest

from aixgo.broker import topology
from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker, Record
from aixgo.clock import now
from aixgo.stores.sessions.broker import PART, PART_BYTES, BrokerSessions
from aixgo.stores.sessions.port import SLACK_SECONDS, Key
from aixgo.subjects import SESSIONS, Names
from aixgo.testing.session_checks import entry

pytestmark = pytest.mark.virtual_time
KEY, NAMES = Key("desk", "s"), Names()
LARGE = "x" * (3 * PART_BYTES)


@pytest.fixture
async def broker() -> AsyncGenerator[Broker, None]:
    async with open_broker("memory") as opened:
        await topology.provision(opened, NAMES)
        yield opened


async def texts(store: BrokerSessions, **options: Any) -> list[str]:
    return [one.text for one in (await store.read(KEY, **options)).messages()]


async def records(broker: Broker) -> Sequence[Record]:
    return await broker.read(NAMES.stream(SESSIONS), NAMES.session_log(*KEY))


class Dies(BrokerSessions):
    """Its process dies after so many records."""

    left = 0

    async def _store(self, *args: Any) -> int:
        if self.left == 0:
            raise SystemExit
        self.left -= 1
        return await super()._store(*args)


@pytest.mark.parametrize("written", [1, 2, 3])
async def test_an_entry_of_which_parts_are_missing_does_not_count_until_they_are_there(
    broker: Broker, written: int
) -> None:
    dying, store = Dies(broker, NAMES), BrokerSessions(broker, NAMES)
    dying.left = written
    with pytest.raises(SystemExit):
        await dying.append(KEY, entry(LARGE, at=1.5))
    await store.append(KEY, entry("between"))
    assert len(await records(broker)) == written + 1
    assert await texts(store) == ["between"]
    await store.append(KEY, entry(LARGE, at=1.000_001))  # its JSON is longer: parts do not fit
    assert await texts(store) == ["between", LARGE]


async def test_a_process_that_dies_before_it_writes_the_head_has_appended(broker: Broker) -> None:
    class Headless(BrokerSessions):
        async def _touch(self, *args: Any) -> None:
            raise SystemExit

    with pytest.raises(SystemExit):
        await Headless(broker, NAMES).append(KEY, entry("one"), user="ada")
    store = BrokerSessions(broker, NAMES)
    assert [one.user for one in await store.find()] == ["ada"]  # so it can be found and removed
    await store.append(KEY, entry("one"), user="ada")
    assert await texts(store) == ["one"]


async def test_what_has_expired_and_began_anew_goes_with_a_sweep(broker: Broker) -> None:
    store = BrokerSessions(broker, NAMES)
    await store.append(KEY, entry("old"), user="ada", expires=now() - 1)
    await store.append(KEY, entry("new"), user="bob")
    assert await texts(store) == ["new"]
    assert await store.sweep() == 0  # a run that saw it may still be at work
    assert len(await records(broker)) == 2
    await asyncio.sleep(SLACK_SECONDS + 1)  # of virtual time
    assert await store.sweep() == 1
    assert len(await records(broker)) == 1
    await store.append(KEY, entry("newer"), user="bob")
    assert await texts(store) == ["new", "newer"]
    assert await store.sweep() == 0


async def test_a_replica_that_is_behind_is_asked_again(broker: Broker) -> None:
    class Behind:
        def __init__(self) -> None:
            self.asked = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(broker, name)

        async def read(self, *args: Any) -> Sequence[Record]:
            found = await broker.read(*args)
            self.asked += 1
            return found[:-1] if self.asked < 3 else found

    store = BrokerSessions(broker, NAMES)
    await store.append(KEY, entry("one"))
    await store.append(KEY, entry("two"))
    assert await texts(BrokerSessions(Behind(), NAMES)) == ["one", "two"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"{", None),
        (b"{}", None),
        (b"x", {PART: "1"}),
        (b"x", {PART: "a b c"}),
        (b"x", {PART: "1 1 c"}),
        (msgspec.json.encode({"id": 1}), None),
    ],
)
async def test_records_of_other_programs_are_skipped(
    broker: Broker, data: bytes, headers: dict[str, str] | None
) -> None:
    store = BrokerSessions(broker, NAMES)
    await store.append(KEY, entry("one"))
    await broker.append(NAMES.session_log(*KEY), data, headers=headers)
    await broker.append(NAMES.session_head("desk", "other"), b"{")
    await store.append(KEY, entry("two"))
    assert await texts(store) == ["one", "two"]
    assert [one.session for one in await store.find()] == ["s"]
