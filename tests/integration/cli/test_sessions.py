"""`aixgo sessions`: conversations of a real server are shown, taken back, forked and removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from aixgo import Agent, App, Context, Message, System
from aixgo.envelope import new_id
from aixgo.models import ChatMessage
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats


async def memo(message: Message, ctx: Context) -> str:
    """Answer with what was said before, and remember both."""
    before = await ctx.session.history()
    answer = " ".join(one.text for one in before if one.role == "user") or "–"
    await ctx.session.append(
        ChatMessage(role="user", content=message.text),
        ChatMessage(role="assistant", content=answer),
    )
    return answer


class Desk:
    """A system whose agent remembers, and the command line beside it."""

    def __init__(self, aixgo: Any, system: System) -> None:
        self._aixgo, self.system = aixgo, system

    async def __call__(self, *arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(self._aixgo, *arguments)
        assert done.returncode == code, done.stderr
        return str(done.stderr + done.stdout if code else done.stdout)

    async def sessions(self, *arguments: str, code: int = 0) -> str:
        return await self("sessions", *arguments, code=code)

    async def lines(self, *arguments: str) -> list[Any]:
        """Return the values that a command writes as JSON."""
        return [json.loads(one) for one in (await self.sessions(*arguments, "--json")).splitlines()]

    async def say(self, *texts: str, session: str = "s", user: str = "ada") -> str:
        for text in texts:
            result = await self.system.call("memo", text, session=session, user=user)
        return result.text


@pytest.fixture
async def desk(aixgo: Any, nats_server: NatsServer) -> AsyncIterator[Desk]:
    aixgo.environment["AIXGO_BROKER"] = nats_server.url
    aixgo.environment["AIXGO_NAMESPACE"] = space = new_id()[-12:]
    agent = Agent("memo", memo, session={"ttl": "2h"})
    async with App([agent], namespace=space).running(nats_server.url) as system:
        yield Desk(aixgo, system)


async def test_a_call_belongs_to_a_session(desk: Desk) -> None:
    for text, wanted in (("one", "–"), ("two", "one"), ("three", "one two")):
        done = await desk("call", "memo", text, "--session", "s", "--user", "ada", "--json")
        assert json.loads(done)["text"] == wanted
    run = (await desk("call", "memo", "four", "--session", "s", "--user", "ada", "-d")).strip()
    result = await desk.system.result("memo", run, timeout=30)
    assert result is not None
    assert result.text == "one two three"
    refused = await desk("call", "memo", "five", "--session", "s", "--user", "bob", code=1)
    assert "belongs to another user" in refused


async def test_conversations_are_listed_and_shown(desk: Desk) -> None:
    assert await desk.sessions("ls") == "no sessions\n"
    await desk.say("one", "two")
    await desk.say("x" * 3_000, session="long one", user="bob")
    listed = (await desk.sessions("ls")).splitlines()
    assert listed[0].split() == ["AGENT", "BEGAN", "LAST", "USED", "EXPIRES", "USER", "SESSION"]
    assert [line.split("  ")[-1].strip() for line in listed[1:]] == ["long one", "s"]
    assert len((await desk.sessions("ls", "--user", "ada")).splitlines()) == 2
    assert await desk.sessions("ls", "--agent", "nobody") == "no sessions\n"
    (first, second) = await desk.lines("ls")
    assert (first["user"], second["session"], second["agent"]) == ("bob", "s", "memo")
    assert second["expires"] > second["used"]
    shown = (await desk.sessions("show", "memo", "s")).splitlines()
    assert shown[1:3] == ["   user: one", "   assistant: –"]
    assert shown[4:] == ["   user: two", "   assistant: one"]
    assert "… (3,000 characters)" in await desk.sessions("show", "memo", "long one")
    assert "no session 'none'" in await desk.sessions("show", "memo", "none", code=1)


async def test_going_back_and_forking(desk: Desk) -> None:
    await desk.say("one", "two")
    assert await desk.sessions("checkpoint", "memo", "s", "good") == "good\n"
    await desk.say("three")
    assert (
        await desk.sessions("fork", "memo", "s", "other", "--at", "good") == "other  4 messages\n"
    )
    assert await desk.sessions("fork", "memo", "s", "first", "--at", "1") == "first  2 messages\n"
    assert await desk.sessions("fork", "memo", "s", "whole") == "whole  6 messages\n"
    assert "already" in await desk.sessions("fork", "memo", "s", "whole", code=1)
    assert await desk.sessions("restore", "memo", "s", "1") == "2 messages\n"
    assert await desk.say("four") == "one"
    assert await desk.sessions("restore", "memo", "s", "good") == "4 messages\n"
    assert await desk.sessions("restore", "memo", "s", "0") == "0 messages\n"
    assert await desk.sessions("restore", "memo", "s", "4") == "6 messages\n"
    assert await desk.say("five") == "one two three"
    assert await desk.say("six", session="other") == "one two"
    numbers = [
        (one["number"], one["counts"]) for one in await desk.lines("show", "memo", "s", "--all")
    ]
    assert [number for number, counts in numbers if counts] == [1, 2, 3, 4, 10]
    everything = await desk.sessions("show", "memo", "s", "--all")
    assert "checkpoint good" in everything
    assert "restored to 1" in everything
    assert "taken back" in everything
    for place in ("11", "-1", "bad"):
        said = await desk.sessions("restore", "memo", "s", "--", place, code=1)
        assert f"no entry or checkpoint {place!r}" in said
    assert "a number means" in await desk.sessions("checkpoint", "memo", "s", "7", code=1)


async def test_conversations_are_removed(desk: Desk) -> None:
    for session in ("a", "b", "c"):
        await desk.say("one", session=session)
    await desk.say("one", session="d", user="bob")
    assert await desk.sessions("fork", "memo", "c", "copy")
    assert await desk.sessions("rm", "memo", "a") == "1 removed\n"
    await desk.sessions("rm", "memo", "a", code=1)
    assert await desk.sessions("rm", "--user", "ada") == "3 removed\n"
    assert await desk.sessions("rm", "--user", "ada") == "0 removed\n"
    assert [one["session"] for one in await desk.lines("ls")] == ["d"]
    for wrong in ((), ("memo",), ("memo", "d", "--user", "bob")):
        assert "give an agent and a session" in await desk.sessions("rm", *wrong, code=2)
