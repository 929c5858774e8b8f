"""A producer publishes at a steady pace, loses nothing when the broker is away, and ends."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, ConfigError, Message
from aixgo.errors import NotReady, RemoteError, StreamFull
from aixgo.testing.local import Running
from aixgo.testing.waiting import eventually

pytestmark = pytest.mark.virtual_time


class Listener:
    """Keeps what it hears with the loop's time."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Any]] = []

    async def __call__(self, message: Message) -> None:
        self.heard.append((asyncio.get_running_loop().time(), message.data))

    @property
    def events(self) -> list[Any]:
        return [event for _, event in self.heard]

    def agent(self) -> Agent:
        return Agent("listener", self, inputs=["clock"], concurrency=1)


def clock(**options: Any) -> Agent:
    return Agent("clock", role="producer", **options)


async def run_for(running: Running, seconds: float, **options: Any) -> Listener:
    """Serve a producer and its listener for some virtual seconds."""
    listener = Listener()
    async with running(clock(**options), listener.agent()):
        await asyncio.sleep(seconds)
    return listener


# -- pace --------------------------------------------------------------------------------------


async def test_a_template_is_published_at_every_tick(running: Running) -> None:
    listener = await run_for(running, 4.5, template="reading {n}")
    assert listener.events == [f"reading {n}" for n in (1, 2, 3, 4, 5)]


async def test_ticks_do_not_drift(running: Running) -> None:
    listener = await run_for(running, 100.05, template="{n}", interval="100ms")
    first = listener.heard[0][0]
    late = [moment - first - 0.1 * number for number, (moment, _) in enumerate(listener.heard)]
    assert len(listener.heard) == 1001
    assert max(map(abs, late)) < 0.02


async def test_without_an_interval_of_its_own_time_is_no_limit(running: Running) -> None:
    listener = await run_for(running, 1, template="{n}", interval=0, count=200)
    assert len(listener.events) == 200


async def test_a_template_fills_in_time_and_a_unique_id(running: Running) -> None:
    listener = await run_for(running, 1.5, template='{"id": "{uuid}", "at": "{time}", "n": {n}}')
    one, two = listener.events
    assert one.endswith('"n": 1}')
    assert '"at": "2030-01-01T00:00:0' in one
    assert one[8:44] != two[8:44]


async def test_a_template_can_be_json_with_formatted_times(running: Running) -> None:
    template = {"n": "{n}", "who": "{agent}-{n}", "at": ["{due:%H.%M}", 7, None]}
    listener = await run_for(
        running, 60.5, template=template, interval="1m", time_zone="Europe/Berlin"
    )
    assert listener.events == [
        {"n": 1, "who": "clock-1", "at": ["01.00", 7, None]},
        {"n": 2, "who": "clock-2", "at": ["01.01", 7, None]},
    ]


async def test_a_rate_is_kept_whatever_the_interval(running: Running) -> None:
    listener = await run_for(running, 60.5, template="{n}", interval=0, rate="30/m")
    assert len(listener.events) == 31
    moments = [moment for moment, _ in listener.heard]
    gaps = [after - before for before, after in pairwise(moments)]
    assert min(gaps) > 1.9


# -- sources and ends --------------------------------------------------------------------------


async def test_a_list_of_events_is_published_once(running: Running) -> None:
    events = ["text", {"n": 1}, [None, 2.5]]
    listener = await run_for(running, 60, events=events, interval=1)
    assert listener.events == events


async def test_a_list_can_begin_again_until_there_are_enough(running: Running) -> None:
    listener = await run_for(running, 60, events=["a", "b"], cycle=True, count=5)
    assert listener.events == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize(
    ("name", "text", "events"),
    [
        ("events.txt", "one\n\n two\n", ["one", " two"]),
        ("events.jsonl", '{"n": 1}\n\n"ü"\n', [{"n": 1}, "ü"]),
    ],
)
async def test_the_lines_of_a_file_are_events(
    running: Running, tmp_path: Path, name: str, text: str, events: list[Any]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    listener = await run_for(running, 10, file=str(path))
    assert listener.events == events


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["cannot be read", "UTF-8"]),
        (b"\n \n", ["no lines"]),
        (b'{"n": 1}\n{"n": \n', ["events.jsonl:2", "not JSON"]),
        (b"\xff\xfe", ["cannot be read"]),
        (b"1\n" * (8 * 1024 * 1024 + 1), ["16,777,218 bytes", "16,777,216 bytes"]),
    ],
    ids=["missing", "empty", "broken", "not-utf8", "too-large"],
)
async def test_a_file_that_is_no_source_stops_the_start_and_says_why(
    running: Running, tmp_path: Path, content: bytes | None, words: list[str]
) -> None:
    path = tmp_path / "events.jsonl"
    if content is not None:
        path.write_bytes(content)
    try:
        async with running(clock(file=str(path))) as system:
            clocks = system.services["clock"]
            await eventually(lambda: clocks.failure is not None)
            assert system.health()["clock"] is False
            said = repr(clocks.failure)
    except NotReady as error:  # the file was read before the system looked whether all are ready
        said = str(error)
    assert "ConfigError" in said
    for word in words:
        assert word in said


# -- outages -----------------------------------------------------------------------------------


async def test_an_outage_delays_events_and_loses_none(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    listener = Listener()
    quick = {"initial_backoff": 0.1, "max_backoff": 0.5}
    producer = clock(template="{n}", interval=1, count=20, retry=quick)
    async with running(producer, listener.agent()) as system:
        service = system.services["clock"]
        assert service._feed is not None
        emit, refusals = service._feed.emit, 12

        async def refuse(*args: Any, **options: Any) -> str:
            nonlocal refusals
            if len(listener.heard) == 3 and refusals:
                refusals -= 1
                raise StreamFull("the stream is full")
            return await emit(*args, **options)

        service._feed.emit = refuse  # type: ignore[method-assign] # the broker is full for a while
        await asyncio.sleep(40)
    assert listener.events == [str(n) for n in range(1, 21)]
    delayed = [record for record in caplog.records if record.message == "producer.delayed"]
    assert len(delayed) == 12
    (missed,) = [record for record in caplog.records if record.message == "producer.ticks_missed"]
    assert vars(missed)["missed"] >= 2
    moments = [moment for moment, _ in listener.heard]
    grid = {round(moment - moments[0], 1) % 1 for moment in moments[5:]}
    assert grid == {0.0}, "after the outage the ticks are on the old grid again"


async def test_a_lost_acknowledgement_publishes_nothing_twice(running: Running) -> None:
    listener = Listener()
    async with running(clock(template="{n}", count=5), listener.agent()) as system:
        service = system.services["clock"]
        assert service._feed is not None
        emit, lost = service._feed.emit, 2

        async def stored_but_unanswered(*args: Any, **options: Any) -> str:
            nonlocal lost
            run = await emit(*args, **options)
            if lost:
                lost -= 1
                raise StreamFull("no answer")
            return run

        service._feed.emit = stored_but_unanswered  # type: ignore[method-assign] # a lost ack
        await asyncio.sleep(30)
    assert listener.events == ["1", "2", "3", "4", "5"]


async def test_an_error_that_waiting_cannot_mend_makes_the_agent_unhealthy(
    running: Running,
) -> None:
    async with running(clock(template="{n}")) as system:
        service = system.services["clock"]
        assert service._feed is not None

        async def broken(*args: Any, **options: Any) -> str:
            raise ConfigError("broken for good")

        service._feed.emit = broken  # type: ignore[method-assign] # as if the stream were gone
        await asyncio.sleep(2)
        assert system.health() == {"clock": False}


async def test_stopping_ends_a_long_wait_at_once(running: Running) -> None:
    loop = asyncio.get_running_loop()
    async with running(clock(template="{n}", interval="1h")):
        await asyncio.sleep(1)
        began = loop.time()
    assert loop.time() - began < 1


async def test_a_producer_cannot_be_called(running: Running) -> None:
    async with running(clock(template="{n}")) as system:
        with pytest.raises(RemoteError, match="only produces events") as caught:
            await system.call("clock", "x")
    assert caught.value.cause == "not_supported"


# -- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["template, events, file", "none"]),
        ({"template": "x", "events": ["y"]}, ["template and events"]),
        ({"template": "{m}"}, ["{m}", "{n}, {time}, {uuid}"]),
        ({"template": "x", "cycle": True}, ["cycle"]),
        ({"events": ["x"], "count": -1}, ["count", "0"]),
        ({"template": "x", "interval": "soon"}, ["interval", "soon"]),
        ({"template": "x", "rate": "fast"}, ["rate", "10/s"]),
        ({"template": "x", "rate": 0}, ["rate", "1/d"]),
        ({"template": "{n:%H}"}, ["{n:%H}", "{time} and {due}"]),
        ({"template": {"a": ["{m}"]}}, ["{m}"]),
        ({"template": "x", "speed": 3}, ["speed"]),
        ({"subject": ">"}, ["'>'", "not a subject to listen to"]),
        ({"subject": "a..b"}, ["'a..b'"]),
        ({"subject": "a.>.b"}, ["'a.>.b'"]),
        ({"subject": "aixgo.default.evt.*"}, ["Aixgo itself", "inputs"]),
        ({"subject": "$SYS.>"}, ["of the server"]),
        ({"subject": "a", "stream": "a b"}, ["'a b'", "name of a stream"]),
        ({"subject": "a", "stream": "aixgo-default-EVENTS"}, ["Aixgo itself"]),
        ({"subject": "a", "stream": "KV_aixgo-default-feeds"}, ["Aixgo itself"]),
        ({"subject": "a", "cron": "* * * * *"}, ["cron does not belong"]),
        ({"subject": "a", "deliver": "new"}, ["deliver belongs to a stream"]),
        ({"subject": "a", "stream": "A", "buffer": 3}, ["buffer belongs"]),
        ({"subject": "a", "template": "x"}, ["template and subject"]),
        ({"template": "x", "stream": "A"}, ["stream belongs to a subject"]),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        clock(**options)
    for word in words:
        assert word in str(caught.value)


def test_messages_that_come_as_they_do_have_no_interval() -> None:
    with pytest.raises(ConfigError, match="interval, and messages of 'a' come as they do"):
        clock(subject="a", interval=1).build()
