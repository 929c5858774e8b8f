"""Orchestrations in a session: they have a conversation of their own, and so has each agent."""

from __future__ import annotations

from aixgo import Agent, Context, Message
from aixgo.models import ChatMessage
from aixgo.stores.sessions.port import Key
from aixgo.testing.local import Running


async def test_an_orchestration_has_a_conversation_of_its_own(running: Running) -> None:

    async def remember(message: Message, ctx: Context) -> str:
        before = await ctx.session.history()
        await ctx.session.append(ChatMessage(role="user", content=message.text))
        return f"{message.text} {len(before)}"

    agents = [
        Agent("a", remember),
        Agent("b", remember),
        Agent("flow", role="orchestrator", pattern="sequential", agents=["a", "b"]),
    ]
    async with running(*agents) as system:
        for text in ("one", "two"):
            await system.call("flow", text, session="s")
        found = {}
        for agent in ("flow", "a", "b"):
            conversation = await system.space.sessions.read(Key(agent, "s"))
            found[agent] = [(one.role, one.text) for one in conversation.messages()]
    user, assistant = "user", "assistant"
    assert found == {
        "flow": [(user, "one"), (assistant, "one 0 0"), (user, "two"), (assistant, "two 1 1")],
        "a": [(user, "one"), (user, "two")],
        "b": [(user, "one 0"), (user, "two 1")],
    }
