"""A server is polled: each item is one event, over pages, failures, restarts and instances."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from aixgo import Agent, ConfigError, Message
from aixgo.agents.role import Remembered
from aixgo.broker.open import open_broker
from aixgo.broker.port import Broker
from aixgo.errors import Disconnected
from aixgo.hosting.app import System
from aixgo.testing.local import run_local
from aixgo.testing.waiting import eventually
from aixgo_services.producer.outlet import Outlet
from aixgo_services.producer.polling import Every

Answer = Callable[[web.BaseRequest], web.StreamResponse]


class Shop:
    """A server with a list of orders, and everything that it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.orders: list[Any] = []
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[str] = []
        self.answer: Answer = self.all
        self.failures: list[web.StreamResponse] = []

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        target = urlsplit(request.raw_path)
        query = parse_qs(target.query, keep_blank_values=True)
        self.asked.append({"path": target.path, **{k: v[0] for k, v in query.items()}})
        self.headers.append(dict(request.headers))
        self.bodies.append((await request.read()).decode())
        return self.failures.pop(0) if self.failures else self.answer(request)

    def all(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"orders": self.orders})

    def two_after(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with two orders after the cursor, which is the place of the last one."""
        after = int(self.asked[-1].get("after", 0))
        page = self.orders[after : after + 2]
        end = {"next": after + len(page)} if page else {}
        return web.json_response({"orders": page, **end})


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    runner = web.ServerRunner(web.Server(found.serve))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


@pytest.fixture
async def broker() -> AsyncGenerator[Broker, None]:
    async with open_broker("memory") as opened:
        yield opened


@pytest.fixture(scope="session")
def _polling_is_loaded() -> None:
    """The first agent that polls imports what it needs when it is built, in no loop."""
    given = {"url": "https://x.test/", "items": "$.a"}
    Agent("orders", role="producer", http=given, cron="@daily").build()


@pytest.fixture(autouse=True)
def _guarded(_polling_is_loaded: None, nothing_blocks_the_loop: None) -> None:
    """Every test here watches the event loop."""


QUICK = {"initial_backoff": "10ms", "max_backoff": "10ms"}


def poller(shop: Shop, given: dict[str, Any], **options: Any) -> Agent:
    http = {"url": f"{shop.url}/orders", "items": "$.orders", "allow_private": True, **given}
    options = {"interval": "20ms", "retry": QUICK, **options}
    return Agent("orders", role="producer", http=http, **options)


@asynccontextmanager
async def polled(
    shop: Shop, broker: Broker, heard: list[Any], given: dict[str, Any], **options: Any
) -> AsyncGenerator[System, None]:
    """Serve a producer that polls, and its listener; what they keep stays."""

    async def listen(message: Message) -> None:
        heard.append(message.data)

    listener = Agent("listener", listen, inputs=["orders"], concurrency=1)
    agents = poller(shop, given, **options), listener
    async with run_local(*agents, broker=broker, namespace="shop") as system:
        yield system


async def polls(shop: Shop, more: int = 3) -> None:
    """Wait until the server was asked some more times."""
    until = len(shop.asked) + more
    await eventually(lambda: len(shop.asked) >= until)


async def ended(system: System) -> None:
    """Wait until the producer has done all that it wanted."""
    task = system.services["orders"]._running
    assert task is not None
    await eventually(task.done)


# -- what is new -------------------------------------------------------------------------------


async def test_each_item_is_one_event_however_often_it_is_listed(
    shop: Shop, broker: Broker
) -> None:
    heard: list[Any] = []
    shop.orders = [{"id": 1}, {"id": 2}]
    async with polled(shop, broker, heard, {}):
        await eventually(lambda: len(heard) == 2)
        shop.orders = [{"id": 2}, {"id": 3}]
        await eventually(lambda: len(heard) == 3)
        await polls(shop)
    assert heard == [{"id": 1}, {"id": 2}, {"id": 3}]


async def test_an_item_with_an_id_is_known_by_it(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.orders = [{"id": 1, "state": "new"}]
    async with polled(shop, broker, heard, {"id": "$.id"}):
        await eventually(lambda: heard)
        shop.orders = [{"id": 1, "state": "paid"}, {"id": 2, "state": "new"}]
        await eventually(lambda: len(heard) == 2)
        await polls(shop)
    assert [one["state"] for one in heard] == ["new", "new"]


async def test_a_server_that_lists_the_newest_first_can_be_reversed(
    shop: Shop, broker: Broker
) -> None:
    heard: list[Any] = []
    shop.orders = [3, 2, 1]
    async with polled(shop, broker, heard, {"reverse": True, "items": "$.orders[*]"}):
        await eventually(lambda: len(heard) == 3)
    assert heard == [1, 2, 3]


async def test_without_items_the_answer_is_an_event_whenever_it_changes(
    shop: Shop, broker: Broker
) -> None:
    heard: list[Any] = []
    async with polled(shop, broker, heard, {"items": ""}):
        for state in ("up", "down", "up"):
            shop.orders = [state]
            await eventually(lambda: heard and heard[-1] == {"orders": shop.orders})
            await polls(shop)
    assert heard == [{"orders": [state]} for state in ("up", "down", "up")]


async def test_a_count_ends_it_in_the_middle_of_an_answer(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.orders = [1, 2, 3]
    for _ in range(2):
        async with polled(shop, broker, heard, {}, count=2) as system:
            await eventually(lambda: len(heard) >= 2)
            await ended(system)
    assert heard == [1, 2]


async def test_a_count_ends_it_between_pages(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.answer, shop.orders = shop.two_after, list(range(9))
    given = {"query": {"after": "{cursor}"}, "cursor": "$.next", "pages": 3}
    async with polled(shop, broker, heard, given, count=2) as system:
        await ended(system)
        await eventually(lambda: len(heard) == 2)
    assert len(shop.asked) == 1


# -- cursors -----------------------------------------------------------------------------------


async def test_a_cursor_goes_on_where_the_last_answer_ended(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.answer, shop.orders = shop.two_after, ["a", "a", "b", "a", "c"]
    given = {"query": {"after": "{cursor}"}, "cursor": "$.next"}
    async with polled(shop, broker, heard, given):
        await eventually(lambda: len(heard) == 5)
        await polls(shop)
    assert heard == shop.orders, "equal items at different places are different items"
    asked = [one.get("after") for one in shop.asked]
    assert asked[:4] == [None, "2", "4", "5"]
    assert {*asked[3:]} == {"5"}, "where nothing new is, the cursor stays"


async def test_pages_follow_each_other_at_once_up_to_a_limit(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.answer, shop.orders = shop.two_after, list(range(9))
    given = {"query": {"after": "{cursor}"}, "cursor": "$.next", "pages": 3, "start": 0}
    async with polled(shop, broker, heard, given, interval="1h"):
        await eventually(lambda: len(heard) == 6)
    assert [one["after"] for one in shop.asked] == ["0", "2", "4"]


async def test_a_cursor_survives_a_restart(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.answer, shop.orders = shop.two_after, ["a", "b", "c"]
    given = {"url": f"{shop.url}/orders?after={{cursor}}", "cursor": "$.next"}
    async with polled(shop, broker, heard, given):
        await eventually(lambda: len(heard) == 3)
        await polls(shop)
    shop.orders.append("d")
    asked = len(shop.asked)
    async with polled(shop, broker, heard, given):
        await eventually(lambda: len(heard) == 4)
    assert heard == ["a", "b", "c", "d"]
    assert shop.asked[asked]["after"] == "3"


async def test_three_instances_ask_once_and_publish_once(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.orders = list(range(50))
    given = {"id": "$"}
    async with (
        polled(shop, broker, heard, given, interval="200ms"),
        polled(shop, broker, heard, given, interval="200ms"),
        polled(shop, broker, heard, given, interval="200ms"),
    ):
        began = asyncio.get_running_loop().time()
        await polls(shop, 6)
        took = asyncio.get_running_loop().time() - began
        await eventually(lambda: len(heard) == 50)
    assert heard == list(range(50))
    assert len(shop.asked) <= took / 0.2 + 3, "one of the three asks at each tick"


async def test_of_two_that_want_to_ask_at_the_same_moment_one_does(
    shop: Shop, broker: Broker
) -> None:
    heard: list[Any] = []
    shop.orders = [1]
    together = asyncio.Barrier(2)
    async with (
        polled(shop, broker, heard, {}, interval="1h") as one,
        polled(shop, broker, heard, {}, interval="1h") as other,
    ):
        await eventually(lambda: heard == [1])
        recalled: list[Any] = []
        for system in (one, other):
            feed = system.services["orders"]._feed
            assert feed is not None
            known = await feed.recall()
            value = {**known.value, "at": 0.0}  # a poll is due

            async def recall(value: Any = value, revision: int = known.revision) -> Remembered:
                recalled.append(1)
                await together.wait()
                return Remembered(value=value, revision=revision)

            feed.recall = recall  # type: ignore[method-assign] # both decide on the same record
        role: Any = one.services["orders"].role
        feeds: list[Any] = [system.services["orders"]._feed for system in (one, other)]
        works = [asyncio.ensure_future(role._work(Outlet(role.spec, feed, None))) for feed in feeds]
        asked = len(shop.asked)
        await eventually(lambda: len(recalled) >= 4)  # and both look again
        for work in works:
            work.cancel()
        await asyncio.wait(works)
    assert len(shop.asked) == asked + 1


async def test_an_instance_that_dies_in_an_answer_leaves_the_rest_to_the_next(
    shop: Shop, broker: Broker
) -> None:
    heard: list[Any] = []
    shop.orders = [1, 2, 3, 4]
    async with polled(shop, broker, heard, {}) as system:
        feed = system.services["orders"]._feed
        assert feed is not None
        emit = feed.emit

        async def dies(data: Any, **given: Any) -> str:
            if data == 3:
                raise ConfigError("dead")
            return await emit(data, **given)

        feed.emit = dies  # type: ignore[method-assign] # it dies with two published and not noted
        await eventually(lambda: system.services["orders"].failure is not None)
    async with polled(shop, broker, heard, {}):
        await eventually(lambda: 4 in heard)
    assert heard == [1, 2, 3, 4]


# -- failures ----------------------------------------------------------------------------------


async def test_a_failing_server_is_asked_again_and_loses_nothing(
    shop: Shop, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    shop.orders = [1]
    shop.failures = [
        web.json_response({"message": "later"}, status=503),
        web.Response(text="<html>oops", status=500),
        web.json_response({"message": "who are you?"}, status=401),
        web.Response(text="not json", status=200),
        web.json_response({"items": []}),
    ]
    async with polled(shop, broker, heard, {}) as system:
        await eventually(lambda: heard == [1])
        assert system.health()["orders"]
    told = [(one.message, vars(one)["detail"]) for one in caplog.records if "poll_" in one.message]
    assert "producer.poll_delayed" in {message for message, _ in told}
    details = " ".join(detail for _, detail in told)
    for words in ("503", "later", "who are you?", "$.orders finds nothing", "members are 'items'"):
        assert words in details


async def test_a_broker_that_is_away_loses_no_item(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    shop.orders = [1, 2, 3]
    async with polled(shop, broker, heard, {}) as system:
        feed = system.services["orders"]._feed
        assert feed is not None
        emit, lost = feed.emit, 4

        async def away(*args: Any, **given: Any) -> str:
            nonlocal lost
            if lost:
                lost -= 1
                raise Disconnected("away")
            return await emit(*args, **given)

        feed.emit = away  # type: ignore[method-assign] # the broker is away for some tries
        await eventually(lambda: len(heard) == 3)
        await polls(shop)
    assert heard == [1, 2, 3]


async def test_an_answer_with_too_many_items_is_an_error_that_says_so(
    shop: Shop, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    shop.orders = list(range(5_001))
    async with polled(shop, broker, [], {}):
        await polls(shop)
    details = [vars(one).get("detail", "") for one in caplog.records]
    assert any("5,001 items, over the 5,000" in detail for detail in details)


async def test_an_answer_that_has_not_changed_is_not_sent_again(shop: Shop, broker: Broker) -> None:
    heard: list[Any] = []
    same = 0

    def tagged(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal same
        tag = f'"{len(shop.orders)}"'
        if request.headers.get("If-None-Match") == tag:
            same += 1
            return web.Response(status=304)
        return web.json_response({"orders": shop.orders}, headers={"ETag": tag})

    shop.answer, shop.orders = tagged, [1]
    async with polled(shop, broker, heard, {}):
        await eventually(lambda: same > 2)
        shop.orders = [1, 2]
        await eventually(lambda: len(heard) == 2)
    assert heard == [1, 2]


async def test_headers_and_a_body_are_sent_and_secrets_are_told_to_nobody(
    shop: Shop, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []
    secret = "s3cret-t0ken-of-the-shop"

    def echo(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"error": request.headers["Authorization"]}, status=403)

    shop.answer = echo
    given = {
        "method": "POST",
        "body": {"since": "{cursor}", "limit": 7},
        "cursor": "$.next",
        "start": 3,
        "headers": {"Authorization": f"Bearer {secret}"},
    }
    async with polled(shop, broker, heard, given):
        await polls(shop)
    assert json.loads(shop.bodies[0]) == {"since": 3, "limit": 7}
    assert shop.headers[0]["Authorization"] == f"Bearer {secret}"
    told = " ".join(str(vars(one)) for one in caplog.records)
    assert "403" in told
    assert secret not in told
    assert secret not in repr(poller(shop, given).options)


async def test_a_name_that_leads_to_a_private_address_is_refused(
    shop: Shop, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    url = shop.url.replace("127.0.0.1", "localhost")
    async with polled(shop, broker, [], {"url": url, "allow_private": False}):
        await eventually(lambda: "producer.poll_failed" in caplog.messages)
    assert shop.asked == []
    details = [vars(one).get("detail", "") for one in caplog.records]
    assert any("'localhost', which is a loopback address" in detail for detail in details)


# -- options -----------------------------------------------------------------------------------


def test_polls_lie_on_a_grid_that_all_instances_share() -> None:
    every = Every(30.0)
    assert every.after(60.0) == 90.0
    assert every.after(89.9) == 90.0
    assert every.newest(60.0, 89.9, 1) == ([], False)
    assert every.newest(60.0, 90.0, 1) == ([90.0], False)
    assert every.newest(61.0, 155.0, 1) == ([150.0], True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "ftp://x"}, ["url", "https://"]),
        ({"url": "http://127.0.0.1/x", "allow_private": False}, ["127.0.0.1", "allow_hosts"]),
        ({"url": "https://x.test/{n}"}, ["{n}"]),
        ({"url": "https://x.test/{cursor}"}, ["cursor", "$.next"]),
        ({"url": "https://x.test/{cursor}", "cursor": "$.n"}, ["start"]),
        ({"cursor": "$.next"}, ["cursor goes nowhere"]),
        ({"items": "orders["}, ["items", "JSON path"]),
        ({"pages": 3}, ["pages belongs to a `cursor`"]),
        ({"items": "", "id": "$.id"}, ["id belongs to `items`"]),
        ({"headers": {"Host": "x"}}, ["headers", "Host"]),
        ({"body": {"a": 1}}, ["body", "GET"]),
        ({"allow_hosts": ["http://x"]}, ["allow_hosts", "http://x"]),
        ({"follow": "never"}, ["follow"]),
    ],
)
def test_a_wrong_poll_is_refused(given: dict[str, Any], words: list[str]) -> None:
    http = {"url": "https://x.test/orders", "items": "$.orders", **given}
    with pytest.raises(ConfigError) as caught:
        Agent("orders", role="producer", http=http).build()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"template": "x"}, ["exactly one", "template and http"]),
        ({"interval": 0}, ["interval of 0", "30s"]),
        ({"cron": "* * * * *", "missed": "all"}, ["missed"]),
        ({"cycle": True}, ["cycle"]),
    ],
)
def test_a_poll_that_does_not_fit_the_rest_is_refused(
    options: dict[str, Any], words: list[str]
) -> None:
    http = {"url": "https://x.test/orders"}
    with pytest.raises(ConfigError) as caught:
        Agent("orders", role="producer", http=http, **options).build()
    for word in words:
        assert word in str(caught.value)
