"""`aixgo dlq`: dead letters of a real server are read, mended, replayed and forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aixgo import Agent, App, Context, Message, System
from aixgo.envelope import new_id
from aixgo.errors import InvalidPayload, RemoteError
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.nats


class Shop:
    """Agents of which one refuses some orders, and the command line beside them."""

    def __init__(self, aixgo: Any) -> None:
        self._aixgo = aixgo
        self.refused = {"spinach"}
        self.system: System

    async def cook(self, message: Message) -> str:
        if message.data in self.refused:
            raise InvalidPayload(f"no {message.data} today")
        return f"cooked {message.data}"

    async def waiter(self, message: Message, ctx: Context) -> str:
        return (await ctx.call("cook", message.data)).text

    async def failed(self, order: str) -> str:
        """Begin a run that fails; returns its id."""
        run = await self.system.send("waiter", order)
        with pytest.raises(RemoteError):
            await self.system.result("waiter", run, timeout=PATIENCE_SECONDS)
        return run

    async def __call__(self, *arguments: str) -> Any:
        return await asyncio.to_thread(self._aixgo, "dlq", *arguments)

    async def lines(self, *arguments: str) -> list[Any]:
        """Return the values that a command writes as JSON."""
        done = await self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    async def result(self, run: str) -> str:
        found = await self.system.result("waiter", run, timeout=PATIENCE_SECONDS)
        assert found is not None
        return found.text


@pytest.fixture
def open_shop(aixgo: Any, nats_server: NatsServer) -> Callable[[], Any]:
    """Return `open_shop()`: the system, in a namespace that the command line knows."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Shop]:
        namespace = f"t{new_id()[-12:]}"
        aixgo.environment = {"AIXGO_BROKER": nats_server.url, "AIXGO_NAMESPACE": namespace}
        shop = Shop(aixgo)
        app = App([Agent("cook", shop.cook), Agent("waiter", shop.waiter)], namespace=namespace)
        async with app.running(broker=nats_server.url, grace=2.0) as shop.system:
            try:
                yield shop
            finally:
                await shop.system.stop(2.0)
                for stream in await shop.system.broker.stream_names():
                    if f"aixgo-{namespace}" in stream:
                        await shop.system.broker.delete_stream(stream)

    return opened


async def test_dead_letters_are_listed_shown_and_all_replayed_once_a_run(open_shop: Any) -> None:
    async with open_shop() as shop:
        assert (await shop("ls")).stdout == "no dead letters\n"
        runs = [await shop.failed("spinach") for _ in range(3)]

        letters = await shop.lines("ls")
        assert [(one["agent"], one["run_id"]) for one in letters] == [
            (agent, run) for run in runs for agent in ("cook", "waiter")
        ]
        assert len(await shop.lines("ls", "--agent", "cook")) == 3
        assert len(await shop.lines("ls", "--run", runs[1])) == 2
        assert (await shop("ls", "--run", runs[1][:4])).returncode == 2  # all began in one second
        assert "invalid_payload: no spinach today" in (await shop("ls")).stdout

        number = letters[0]["number"]
        shown = (await shop("show", str(number))).stdout
        for words in (
            "cause     invalid_payload: no spinach today",
            runs[0],
            'payload   "spinach"',
        ):
            assert words in shown
        (whole,) = await shop.lines("show", str(number))
        assert whole["envelope"]["payload"] == "spinach"

        shop.refused.clear()
        done = await shop("replay", "--all")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [f"waiter  {run}" for run in runs]
        assert [await shop.result(run) for run in runs] == ["cooked spinach"] * 3
        assert await shop.lines("ls") == []


async def test_an_edited_dead_letter_is_replayed_as_it_was_edited(open_shop: Any) -> None:
    async with open_shop() as shop:
        run = await shop.failed("spinach")
        (cook,) = await shop.lines("ls", "--agent", "cook")
        (edited,) = await shop.lines("edit", str(cook["number"]), "--data", '"peas"')
        assert edited["was"] == cook["number"]
        replayed = await shop.lines("replay", str(edited["number"]))
        assert replayed == [{"number": edited["number"], "agent": "waiter", "run_id": run}]
        assert await shop.result(run) == "cooked peas"


async def test_dead_letters_are_forgotten_by_number_or_all(open_shop: Any) -> None:
    async with open_shop() as shop:
        await shop.failed("spinach")
        await shop.failed("spinach")
        first = (await shop.lines("ls"))[0]["number"]
        done = await shop("purge", str(first), "9999")
        assert (done.returncode, done.stdout) == (1, "1 forgotten\n")
        assert "there is no dead letter 9999" in done.stderr
        assert await shop.lines("purge", "--all", "--yes") == [{"removed": 3}]
        gone = await shop("replay", str(first))
        assert gone.returncode == 1
        assert f"there is no dead letter {first}" in gone.stderr


async def test_what_never_was_a_message_does_not_keep_others_from_going_on(open_shop: Any) -> None:
    async with open_shop() as shop:
        system = shop.system
        garbage = system.names.call("cook", new_id(), "")
        await system.broker.append(garbage, b"garbage")
        await eventually(system.dead_letters.list)
        run = await shop.failed("spinach")
        shop.refused.clear()
        done = await shop("replay", "--all")
        assert (done.returncode, done.stdout) == (1, f"waiter  {run}\n")
        assert "could not be read as a message, so it cannot be replayed" in done.stderr
        assert await shop.result(run) == "cooked spinach"
        (left,) = await shop.lines("ls")
        shown = (await shop("show", str(left["number"]))).stdout
        assert "no message, so it cannot be replayed" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ls"], "give --broker nats://host:4222, or set AIXGO_BROKER"),
        (["replay", "--broker", "URL"], "or --all, not both"),
        (["replay", "1", "--all", "--broker", "URL"], "or --all, not both"),
        (["purge", "--broker", "URL"], "or --all, not both"),
        (["edit", "1", "--data", "{", "--broker", "URL"], "--data is not JSON"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    aixgo: Any, nats_server: NatsServer, arguments: list[str], reason: str
) -> None:
    done = aixgo("dlq", *(nats_server.url if one == "URL" else one for one in arguments))

    assert done.returncode == 2
    assert reason in done.stderr
