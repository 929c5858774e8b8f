"""Firings: each is one event, over instances, restarts, deaths and changes of the clocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aixgo import Agent, ConfigError, Message
from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.config.retention import Retention
from aixgo.errors import Disconnected
from aixgo.hosting.app import System
from aixgo.testing.local import run_local
from aixgo_services.producer.cron import Cron

pytestmark = pytest.mark.virtual_time

DAY = 86_400.0


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.due: list[Any] = []
        self.runs: list[str] = []

    async def __call__(self, message: Message) -> None:
        self.events.append(message.data)
        self.due.append(message.meta.get("due"))
        self.runs.append(message.run_id)


@pytest.fixture
async def broker() -> AsyncGenerator[Broker, None]:
    async with open_broker("memory") as opened:
        yield opened


@asynccontextmanager
async def served(
    broker: Broker, listener: Listener, **options: Any
) -> AsyncGenerator[System, None]:
    """Serve a producer and its listener; what they keep stays when the block is left."""
    agents = [
        Agent("clock", role="producer", **{"template": "{n}", **options}),
        Agent("listener", listener, inputs=["clock"], concurrency=1),
    ]
    kept = Retention(keep="3h")
    async with run_local(*agents, broker=broker, namespace="cron", retention=kept) as system:
        yield system


# -- expressions -------------------------------------------------------------------------------


def local(text: str, zone: str = "Europe/Berlin") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("expression", "after", "firing"),
    [
        ("*/15 * * * *", "2030-01-01 10:07", "2030-01-01 10:15"),
        ("0 9 * * 1-5", "2030-01-04 09:00", "2030-01-07 09:00"),
        ("30 0 0 1 * *", "2030-01-15 12:00", "2030-02-01 00:00:30"),
        ("@daily", "2030-01-01 00:00", "2030-01-02 00:00"),
        ("0 0 29 2 *", "2030-01-01 00:00", "2032-02-29 00:00"),
    ],
)
def test_a_schedule_names_its_next_firing(expression: str, after: str, firing: str) -> None:
    cron = Cron(expression, ZoneInfo("Europe/Berlin"))
    assert cron.after(local(after)) == local(firing)


def test_a_daily_firing_follows_a_change_of_the_clocks() -> None:
    cron = Cron("30 2 * * *", ZoneInfo("Europe/Berlin"))
    # 2:30 is left out on the last Sunday of March, and comes twice on that of October
    spring = cron.newest(local("2030-03-30 12:00"), local("2030-04-01 12:00"), 10)[0]
    assert spring == [local("2030-03-31 03:00"), local("2030-04-01 02:30")]
    autumn = cron.newest(local("2030-10-26 12:00"), local("2030-10-28 12:00"), 10)[0]
    assert autumn == [local("2030-10-27 02:30"), local("2030-10-28 02:30")]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_the_newest_firings_are_those_of_counting_forwards(most: int) -> None:
    cron = Cron("30 */2 * * *", ZoneInfo("America/New_York"))
    since, until = 1_898_000_000.0, 1_898_000_000.0 + 400 * DAY
    firings, moment = [], since
    while (moment := cron.after(moment)) <= until:
        firings.append(moment)
    for end in (0, 7, 1_511, len(firings) - 1):
        found, more = cron.newest(since, firings[end], most)
        assert found == firings[: end + 1][-most:]
        assert more == (end + 1 > most)


def test_looking_for_missed_firings_does_not_count_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cron = Cron("* * * * * *", ZoneInfo("UTC"))
    counted, count = 0, cron._count

    def counting(moment: float) -> Any:
        nonlocal counted
        for one in count(moment):
            counted += 1
            yield one

    monkeypatch.setattr(cron, "_count", counting)
    found, more = cron.newest(0.0, 50 * 365 * DAY, 2)
    assert (found, more) == ([50 * 365 * DAY - 1, 50 * 365 * DAY], True)
    assert counted < 10_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cron": "soon"}, ["'soon'", "minute, hour", "@daily"]),
        ({"cron": "61 * * * *"}, ["bad minute"]),
        ({"cron": "0 0 30 2 *"}, ["day-of-month"]),
        ({"cron": "* * * * *", "interval": 3}, ["interval and a cron", "leave one"]),
        ({"cron": "* * * * *", "time_zone": "Mars/Base"}, ["Mars/Base", "Europe/Berlin"]),
        ({"cron": "* * * * *", "time_zone": "../etc"}, ["../etc"]),
        ({"cron": "* * * * *", "missed": "some"}, ["missed", "'skip'"]),
        ({"cron": "* * * * *", "missed_limit": 5}, ["missed_limit", "all"]),
        ({"interval": 1, "missed": "all"}, ["missed belongs to cron"]),
    ],
)
async def test_a_wrong_schedule_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent("clock", role="producer", template="x", **options).build()
    for word in words:
        assert word in str(caught.value)


# -- firings -----------------------------------------------------------------------------------


async def test_every_firing_is_an_event_with_the_moment_for_which_it_was_due(
    broker: Broker,
) -> None:
    listener = Listener()
    options = {"template": "{n} {due:%H:%M}", "cron": "*/5 * * * *", "time_zone": "Asia/Tokyo"}
    async with served(broker, listener, **options):
        await asyncio.sleep(11 * 60)
    assert listener.events == ["1 09:05", "2 09:10"]
    assert listener.due == ["2030-01-01T00:05:00.000000Z", "2030-01-01T00:10:00.000000Z"]


async def test_the_first_start_has_missed_nothing(broker: Broker) -> None:
    listener = Listener()
    async with served(broker, listener, cron="0 0 1 1 *", missed="all"):
        await asyncio.sleep(3600)
    assert listener.events == []


async def test_three_instances_fire_once(broker: Broker) -> None:
    listener = Listener()
    cron = {"cron": "* * * * * *"}
    async with (
        served(broker, listener, **cron),
        served(broker, listener, **cron),
        served(broker, listener, **cron),
    ):
        await asyncio.sleep(60.5)
    assert listener.events == [str(n) for n in range(1, 61)]
    assert len(set(listener.runs)) == 60


async def test_numbers_and_lists_go_on_after_a_restart(broker: Broker) -> None:
    listener = Listener()
    options: dict[str, Any] = {"cron": "* * * * *", "template": None, "events": ["a", "b", "c"]}
    for _ in range(3):
        async with served(broker, listener, **options):
            await asyncio.sleep(60)
    assert listener.events == ["a", "b", "c"]
    async with served(broker, listener, **options):
        await asyncio.sleep(5 * 60)
    assert listener.events == ["a", "b", "c"], "the list is used up, also for those who come later"


async def test_a_count_counts_over_restarts(broker: Broker) -> None:
    listener = Listener()
    for _ in range(3):
        async with served(broker, listener, cron="* * * * *", count=2):
            await asyncio.sleep(60)
    assert listener.events == ["1", "2"]


@pytest.mark.parametrize(
    ("options", "events"),
    [
        ({"missed": "skip"}, ["1 01", "2 06"]),
        ({"missed": "once"}, ["1 01", "2 05", "3 06"]),
        ({"missed": "all"}, ["1 01", "2 02", "3 03", "4 04", "5 05", "6 06"]),
        ({"missed": "all", "missed_limit": 2}, ["1 01", "2 04", "3 05", "4 06"]),
    ],
    ids=["skip", "once", "all", "all-but-bounded"],
)
async def test_what_was_missed_follows_the_policy(
    broker: Broker, options: dict[str, Any], events: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    options = {"template": "{n} {due:%H}", "cron": "0 * * * *", **options}
    async with served(broker, listener, **options):
        await asyncio.sleep(1.5 * 3600)
    await asyncio.sleep(4 * 3600)  # at 05:30 it is back; 02:00 to 05:00 were missed
    async with served(broker, listener, **options):
        await asyncio.sleep(3600)
    assert listener.events == events
    told = [record for record in caplog.records if record.message == "producer.firings_missed"]
    assert bool(told) == (len(events) < 6)


async def test_a_firing_that_is_late_by_a_restart_is_not_missed(broker: Broker) -> None:
    listener = Listener()
    options = {"template": "{due:%H}", "cron": "0 * * * *", "missed": "skip"}
    async with served(broker, listener, **options):
        await asyncio.sleep(3590)
    await asyncio.sleep(40)
    async with served(broker, listener, **options):
        await asyncio.sleep(10)
    assert listener.events == ["01"]


async def test_an_instance_that_dies_between_event_and_record_repeats_it_as_the_same_event(
    broker: Broker,
) -> None:
    listener = Listener()
    options = {"template": "{n} {due:%H}", "cron": "0 * * * *"}
    async with served(broker, listener, **options) as system:
        feed = system.services["clock"]._feed
        assert feed is not None
        await asyncio.sleep(1800)

        async def dead(*args: Any, **given: Any) -> int:
            raise Disconnected("gone")

        feed.remember = dead  # type: ignore[method-assign] # it dies after it has published
        await asyncio.sleep(3600)
    assert listener.events == ["1 01"]
    await asyncio.sleep(600)  # longer than the broker remembers message ids
    async with served(broker, listener, **options) as system:
        await asyncio.sleep(3600)
        stored = await system.broker.read(
            system.names.stream("EVENTS"), system.names.event("clock")
        )
    assert len(stored) == 3, "the event of the first firing was published a second time"
    assert listener.events == ["1 01", "2 02"], "and was not handled a second time"


async def test_a_broker_that_is_away_delays_a_firing_and_loses_none(broker: Broker) -> None:
    listener = Listener()
    async with served(broker, listener, template="{n} {due:%H}", cron="0 * * * *") as system:
        feed = system.services["clock"]._feed
        assert feed is not None
        recall, lost = feed.recall, 5

        async def away() -> Any:
            nonlocal lost
            if lost:
                lost -= 1
                raise Disconnected("away")
            return await recall()

        feed.recall = away  # type: ignore[method-assign] # the broker is away for some tries
        await asyncio.sleep(2 * 3600 + 100)
    assert listener.events == ["1 01", "2 02"]


async def test_a_record_of_another_kind_is_a_new_beginning(broker: Broker) -> None:
    listener = Listener()
    async with served(broker, listener, interval=1, count=1) as system:
        feed = system.services["clock"]._feed
        assert feed is not None
        await feed.remember({"kind": "older", "n": 7}, revision=0)
    async with served(broker, listener, cron="0 * * * *"):
        await asyncio.sleep(3601)
    assert listener.events[-1] == "1"
