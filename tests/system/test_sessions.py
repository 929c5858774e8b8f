"""What agents remember of a session: durable, exactly once, the same in every execution."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.calls.upkeep.sessions import PAUSE_SECONDS
from aixgo.errors import InvalidPayload, ModelTimeout, RemoteError
from aixgo.models import ChatMessage
from aixgo.stores.sessions.port import SLACK_SECONDS, Entry, Key
from aixgo.subjects import SESSIONS
from aixgo.testing.local import Running, run_local
from aixgo.testing.waiting import PATIENCE_SECONDS

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


def said(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


async def remember(message: Message, ctx: Context) -> list[str]:
    """Answer with what was said before; this message is said, too."""
    before = await ctx.session.history()
    await ctx.session.append(said(message.text))
    return [one.text for one in before]


async def test_an_agent_remembers_a_session_and_no_other(running: Running) -> None:
    async with running(Agent("memo", remember)) as system:
        for text, session, wanted in (
            ("one", "u-17", []),
            ("two", "u-17", ["one"]),
            ("other", "u-18", []),
            ("three", "u-17", ["one", "two"]),
            ("none", "", []),
            ("nor here", "", []),
        ):
            assert (await system.call("memo", text, session=session)).data == wanted
        run = await system.send("memo", "four", session="u-17")
        result = await system.result("memo", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.data == ["one", "two", "three"]


async def test_an_agent_that_keeps_nothing_remembers_nothing(running: Running) -> None:
    async with running(Agent("memo", remember, session={"keep": False})) as system:
        for _ in range(2):
            assert (await system.call("memo", "one", session="u-17")).data == []
        assert await system.space.sessions.find() == []


async def test_a_session_belongs_to_its_user(running: Running) -> None:
    async with running(Agent("memo", remember)) as system:
        await system.call("memo", "mine", session="s", user="ada")
        assert (await system.call("memo", "", session="s", user="ada")).data == ["mine"]
        for user in ("bob", ""):
            with pytest.raises(RemoteError, match="belongs to another user") as caught:
                await system.call("memo", "theirs", session="s", user=user)
            assert caught.value.cause == "session_of_another"
            assert "mine" not in str(caught.value)


@pytest.mark.parametrize(
    ("session", "problem"),
    [("x" * 257, "257 characters"), ("a\nb", r"U\+000A"), ("\ud800", "U\\+D800")],
)
async def test_what_is_not_a_name_is_refused(running: Running, session: str, problem: str) -> None:
    async with running(Agent("memo", remember)) as system:
        with pytest.raises(InvalidPayload, match=problem):
            await system.call("memo", "x", session=session)


@pytest.mark.parametrize("session", [7, "", ["a"], {"a": 1}, True])
async def test_what_is_not_a_name_in_the_metadata_is_refused(
    running: Running, session: object
) -> None:
    async with running(Agent("memo", remember)) as system:
        with pytest.raises(RemoteError, match="the session is") as caught:
            await system.call("memo", "x", meta={"session": session})
        assert caught.value.cause == "invalid_payload"


async def test_agents_that_are_called_get_the_session_and_the_user(running: Running) -> None:
    heard: list[dict[str, Any]] = []

    async def inner(message: Message, ctx: Context) -> list[str]:
        heard.append(dict(message.meta))
        return await remember(message, ctx)

    async def outer(message: Message, ctx: Context) -> Any:
        await ctx.call("inner", "alone", meta={"session": None})
        return (await ctx.call("inner", message.text, meta={"tenant": "acme"})).data

    async with running(Agent("inner", inner), Agent("outer", outer)) as system:
        for text, wanted in (("one", []), ("two", ["one"])):
            assert (await system.call("outer", text, session="s", user="ada")).data == wanted
        assert heard[:2] == [
            {"session": None, "user": "ada"},
            {"session": "s", "user": "ada", "tenant": "acme"},
        ]
        found = await system.space.sessions.find(user="ada")
        assert [(one.agent, one.session) for one in found] == [("inner", "s")]


async def test_a_repeated_execution_sees_the_history_that_it_saw_first(running: Running) -> None:
    seen: list[list[str]] = []

    async def memo(message: Message, ctx: Context) -> list[str]:
        before = [one.text for one in await ctx.session.history()]
        seen.append(before)
        if ctx.attempt == 1 and message.text == "two":
            # another run of the session is faster
            key, late = Key("memo", "s"), Entry(id="late", at=1.0, messages=(said("late"),))
            await system.space.sessions.append(key, late)
            raise ModelTimeout("again")
        await ctx.session.append(said(message.text))
        return before

    async with running(Agent("memo", memo, retry=QUICK)) as system:
        await system.call("memo", "one", session="s")
        assert (await system.call("memo", "two", session="s")).data == ["one"]
        assert seen[1:] == [["one"], ["one"]]
        assert (await system.call("memo", "three", session="s")).data == ["one", "late", "two"]


async def test_a_repeated_execution_appends_once(running: Running) -> None:
    async def memo(message: Message, ctx: Context) -> list[str]:
        before = await remember(message, ctx)
        await ctx.session.append(said(f"{message.text}, again"))
        if ctx.attempt < 3:
            raise ModelTimeout("again")
        return before

    async with running(Agent("memo", memo, retry=QUICK)) as system:
        await system.call("memo", "one", session="s")
        assert (await system.call("memo", "two", session="s")).data == ["one", "one, again"]


async def test_a_run_whose_history_was_removed_says_so(running: Running) -> None:
    async def memo(message: Message, ctx: Context) -> list[str]:
        before = await ctx.session.history()
        if before and ctx.attempt == 1:
            await system.space.sessions.delete(Key("memo", "s"))
            raise ModelTimeout("again")
        await ctx.session.append(said(message.text))
        return []

    async with running(Agent("memo", memo, retry=QUICK)) as system:
        await system.call("memo", "one", session="s")
        with pytest.raises(RemoteError, match="are gone") as caught:
            await system.call("memo", "two", session="s", timeout=PATIENCE_SECONDS)
        assert caught.value.cause == "session_changed"
        assert caught.value.attempts == 2


async def test_a_conversation_expires_after_its_last_message(running: Running) -> None:
    async with running(Agent("memo", remember, session={"ttl": "2h"})) as system:
        await system.call("memo", "one", session="s")
        (summary,) = await system.space.sessions.find()
        assert summary.expires == pytest.approx(summary.used + 7200)


@pytest.mark.virtual_time
async def test_upkeep_removes_what_has_expired() -> None:
    async with run_local(Agent("memo", remember, session={"ttl": "2h"})) as system:
        await system.call("memo", "one", session="s")
        stream = system.names.stream(SESSIONS)
        await asyncio.sleep(7200 + 1)  # of virtual time
        assert (await system.space.sessions.read(Key("memo", "s"))).entries == ()
        await asyncio.sleep(SLACK_SECONDS + 2 * PAUSE_SECONDS)
        info = await system.broker.stream_info(stream)
        assert info is not None
        assert info.messages == 0


async def test_a_message_of_a_megabyte_is_remembered(running: Running) -> None:
    large = "ü" * 600_000
    async with running(Agent("memo", remember)) as system:
        await system.call("memo", large, session="s")
        assert (await system.call("memo", "two", session="s")).data == [large]
