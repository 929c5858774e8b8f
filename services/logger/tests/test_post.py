"""A server gets every message, in batches, and holds them back while it is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from aixgo import Agent, Message
from aixgo.testing.local import run_local
from aixgo.testing.waiting import eventually


class Collector:
    """A server that takes messages, and can be told to refuse some."""

    def __init__(self) -> None:
        self.url = ""
        self.batches: list[list[Any]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.failures: list[web.StreamResponse | None] = []
        self.poison: Any = None
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    @property
    def taken(self) -> list[Any]:
        return [record["payload"] for batch in self.batches for record in batch]

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.asked += 1
        await self.open.wait()
        if self.failures and (failure := self.failures.pop(0)) is not None:
            return failure
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        if request.content_type == "application/x-ndjson":
            batch = [json.loads(line) for line in body.splitlines()]
        else:
            batch = json.loads(body)
        if self.poison is not None and any(one["payload"] == self.poison for one in batch):
            return web.json_response({"message": "bad record"}, status=400)
        self.batches.append(batch)
        return web.Response(status=204)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    runner = web.ServerRunner(web.Server(found.serve))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
        yield found
    finally:
        await runner.cleanup()


@pytest.fixture(scope="session")
def _posting_is_loaded() -> None:
    """The first agent that posts imports what it needs when it is built, in no loop."""
    Agent("journal", role="logger", http={"url": "https://x.test/"}).build()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are short here."""
    monkeypatch.setattr("aixgo_services.logger.post._FIRST_PAUSE_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def _guarded(_posting_is_loaded: None, nothing_blocks_the_loop: None) -> None:
    """Every test here watches the event loop."""


def journal(collector: Collector, given: dict[str, Any] | None = None, **options: Any) -> Agent:
    http = {"url": collector.url, "allow_private": True, **(given or {})}
    return Agent("journal", role="logger", http=http, **options)


async def test_each_message_is_there_when_it_is_handled(collector: Collector) -> None:
    given = {"headers": {"Authorization": "Bearer of-the-collector"}}
    async with run_local(journal(collector, given)) as system:
        result = await system.call("journal", {"n": 1}, meta={"tenant": "acme"})
        assert result.data == {"n": 1}
        assert len(collector.batches) == 1
    (record,) = collector.batches[0]
    assert (record["payload"], record["meta"]) == ({"n": 1}, {"tenant": "acme"})
    (headers,) = collector.headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer of-the-collector"


async def test_lines_of_json_are_an_object_each(collector: Collector) -> None:
    async with run_local(journal(collector, {"format": "ndjson"})) as system:
        await system.call("journal", "one")
    assert collector.headers[0]["Content-Type"] == "application/x-ndjson"
    assert collector.bodies[0].endswith(b"}\n")
    assert collector.taken == ["one"]


async def test_what_comes_during_a_request_is_the_next_batch(collector: Collector) -> None:
    collector.open.clear()
    async with run_local(journal(collector, {"batch": 20})) as system:
        first = asyncio.ensure_future(system.call("journal", -1))
        await eventually(lambda: collector.asked == 1)
        rest = [asyncio.ensure_future(system.call("journal", n)) for n in range(50)]
        busy = system.services["journal"]
        await eventually(lambda: busy.busy == 51)
        collector.open.set()
        await asyncio.gather(first, *rest)
    assert [len(batch) for batch in collector.batches] == [1, 20, 20, 10]
    assert sorted(collector.taken) == [-1, *range(50)]


async def test_a_server_that_is_away_holds_events_back_and_gets_them_all(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    async def source(message: Message) -> None: ...

    collector.failures = [
        web.json_response({"message": "later"}, status=503, headers={"Retry-After": "1"}),
        web.Response(status=500, text="oops"),
        web.Response(status=401, text="of-the-collector, who are you?"),
    ]
    given = {"headers": {"Authorization": "of-the-collector"}}
    agent = journal(collector, given, inputs=["source"], concurrency=2)
    async with run_local(Agent("source", source), agent) as system:
        for n in range(6):
            await system.publish("source", n)
        await eventually(lambda: collector.asked == 1)
        assert system.services["journal"].busy <= 2, "the others wait in the broker"
        await eventually(lambda: len(collector.taken) == 6)
    assert sorted(collector.taken) == list(range(6))
    told = [vars(one) for one in caplog.records if one.message == "logger.sink_waits"]
    assert len(told) == 3
    assert told[0]["retry_in"] >= 1
    assert "answered 503: later" in told[0]["detail"]
    assert all("of-the-collector" not in str(one) for one in told)


async def test_a_message_that_is_never_taken_is_a_dead_letter_and_the_others_are_not(
    collector: Collector,
) -> None:
    async def source(message: Message) -> None: ...

    collector.poison = 3
    collector.open.clear()
    agent = journal(collector, inputs=["source"])
    async with run_local(Agent("source", source), agent) as system:
        for n in range(8):
            await system.publish("source", n)
        await eventually(lambda: system.services["journal"].busy == 8)
        collector.open.set()
        await eventually(lambda: len(collector.taken) == 7)
        letters = await eventually(lambda: system.dead_letters.list())
    assert sorted(collector.taken) == [0, 1, 2, 4, 5, 6, 7]
    (letter,) = letters
    failure = letter.letter.failure
    assert failure.code == "sink_refused"
    assert "answered 400: bad record" in failure.message


async def test_an_execution_that_ends_leaves_its_batch_to_the_others(collector: Collector) -> None:
    collector.failures = [web.Response(status=500)] * 3
    quick = {"max_attempts": 15, "initial_backoff": 0.01, "max_backoff": 0.01}
    agent = journal(collector, timeout="100ms", retry=quick)
    async with run_local(agent) as system:
        results = await asyncio.gather(*(system.call("journal", n) for n in range(5)))
    assert [result.data for result in results] == list(range(5))
    assert {*collector.taken} == {*range(5)}
