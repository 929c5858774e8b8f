"""A react agent in a session: it sees what was said before, and remembers what is said now."""

from __future__ import annotations

from aixgo import Agent
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running


async def test_react_answers_to_what_was_said_before(running: Running) -> None:
    model = ScriptedModel(["1", "2", "3", "4"])
    async with running(
        Agent("desk", role="react", model="scripted/m", prompt="Help."), model=model
    ) as system:
        for text in ("one", "two", "three"):
            await system.call("desk", text, session="s")
        await system.call("desk", "alone")
    asked = [[(one.role, one.text) for one in request.messages] for request in model.requests]
    told = ("system", "Help.")
    one, two = [("user", "one"), ("assistant", "1")], [("user", "two"), ("assistant", "2")]
    assert asked == [
        [told, ("user", "one")],
        [told, *one, ("user", "two")],
        [told, *one, *two, ("user", "three")],
        [told, ("user", "alone")],
    ]
