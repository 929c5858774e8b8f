"""What a react agent sends of a long conversation: trimmed, summarised, always whole exchanges."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo import Agent, System, tool
from aixgo.errors import RemoteError, StoreUnavailable
from aixgo.models import ChatRequest, ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.stores.sessions.broker import BrokerSessions
from aixgo.stores.sessions.port import Entry, Key
from aixgo.testing.local import Running
from aixgo_services.react.window import SUMMARY

WORDS = "word " * 60
"""With what belongs to a message, about 66 tokens, of which a scripted model counts 61."""


def desk(**context: Any) -> Agent:
    quick = {"initial_backoff": 0.01, "max_backoff": 0.02}
    return Agent(
        "desk", role="react", model="scripted/m", prompt="Help.", context=context, retry=quick
    )


def texts(request: ChatRequest) -> list[str]:
    """Return what a model was sent, the first words of each message."""
    return [one.text.replace(WORDS, "").strip() or "…" for one in request.messages]


async def talk(system: System, *numbers: int) -> None:
    for number in numbers:
        await system.call("desk", f"q{number} {WORDS}", session="s")


def answers(*numbers: int) -> list[Any]:
    return [f"a{number} {WORDS}" for number in numbers]


async def test_without_a_limit_everything_is_sent(running: Running) -> None:
    model = ScriptedModel(answers(1, 2, 3, 4))
    async with running(desk(), model=model) as system:
        await talk(system, 1, 2, 3, 4)
    wanted = ["Help.", "q1", "a1", "q2", "a2", "q3", "a3", "q4"]
    assert texts(model.requests[-1]) == wanted


async def test_the_oldest_exchanges_are_left_out_and_stay_in_the_session(running: Running) -> None:
    model = ScriptedModel(answers(1, 2, 3, 4, 5))
    async with running(desk(max_tokens=400), model=model) as system:
        await talk(system, 1, 2, 3, 4, 5)
        found = await system.sessions.get("desk", "s")
        assert len(found.messages()) == 10
    assert texts(model.requests[3]) == ["Help.", "q2", "a2", "q3", "a3", "q4"]
    assert texts(model.requests[4]) == ["Help.", "q3", "a3", "q4", "a4", "q5"]


async def test_what_is_pinned_stays(running: Running) -> None:
    model = ScriptedModel(answers(1, 2, 3, 4))
    async with running(desk(max_tokens=400, pinned=1), model=model) as system:
        await talk(system, 1, 2, 3, 4)
    assert texts(model.requests[3]) == ["Help.", "q1", "a1", "q3", "a3", "q4"]


async def test_what_cannot_be_left_out_is_refused_before_it_is_sent(running: Running) -> None:
    model = ScriptedModel(answers(1))
    async with running(desk(max_tokens=200), model=model) as system:
        with pytest.raises(RemoteError, match=r"over its `context\.max_tokens` of 200") as caught:
            await system.call("desk", WORDS * 4)
        assert caught.value.cause == "context_too_long"
        assert model.calls == 0


async def test_a_summary_takes_the_place_of_what_was_said_before(running: Running) -> None:
    model = ScriptedModel(
        [*answers(1, 2, 3), "they said q1 to q2", *answers(4), *answers(5), "and q3", *answers(6)]
    )
    async with running(desk(max_tokens=400, strategy="summarise"), model=model) as system:
        await talk(system, 1, 2, 3, 4)
        asked = model.requests[3]
        assert "Summarise the conversation" in asked.messages[0].text
        assert "user: q1" in asked.messages[1].text
        said = f"{SUMMARY}they said q1 to q2"
        assert texts(model.requests[4]) == ["Help.", said, "q3", "a3", "q4"]
        await talk(system, 5)  # the session remembers the summary
        assert texts(model.requests[5]) == ["Help.", said, "q3", "a3", "q4", "a4", "q5"]
        await talk(system, 6)
        assert said in model.requests[6].messages[1].text  # it is part of the next one
        assert texts(model.requests[7])[:2] == ["Help.", f"{SUMMARY}and q3"]
        everything = (await system.sessions.get("desk", "s")).messages()
        assert [one.text.split()[0] for one in everything] == [
            text for number in range(1, 7) for text in (f"q{number}", f"a{number}")
        ]


async def test_a_summary_is_asked_once_though_the_run_is_repeated(running: Running) -> None:
    class Away(BrokerSessions):
        """A store that cannot be reached when the first answer after a summary is kept."""

        failed = False

        async def append(self, key: Key, entry: Entry, **options: Any) -> None:
            last = entry.messages[-1].text
            if last.startswith("a4") and not self.failed:
                self.failed = True
                raise StoreUnavailable("away")
            await super().append(key, entry, **options)

    model = ScriptedModel([*answers(1, 2, 3), "short", *answers(4)])
    async with running(desk(max_tokens=400, strategy="summarise"), model=model) as system:
        store = system.space.sessions = Away(system.broker, system.names)
        await talk(system, 1, 2, 3, 4)
        assert store.failed
        read = await system.space.sessions.read(Key("desk", "s"))
    summaries = [one for one in read.standing() if one.kind == "summary"]
    assert [one.messages[0].text for one in summaries] == [f"{SUMMARY}short"]
    assert model.calls == 5


async def test_going_back_to_before_a_summary_forgets_it(running: Running) -> None:
    model = ScriptedModel([*answers(1, 2, 3), "short", *answers(4, 5)])
    async with running(desk(max_tokens=400, strategy="summarise"), model=model) as system:
        await talk(system, 1, 2, 3, 4)
        await system.sessions.restore("desk", "s", 2)
        await talk(system, 5)
    assert texts(model.requests[-1]) == ["Help.", "q1", "a1", "q2", "a2", "q5"]


async def test_old_uses_of_tools_are_left_out_with_their_results(running: Running) -> None:
    @tool(effect="read")
    async def look(what: str) -> str:
        """Look something up."""
        return f"{what} {WORDS}"

    uses = [ToolCall(id=f"c{n}", name="look", arguments=f'{{"what": "r{n}"}}') for n in range(6)]
    agent = Agent(
        "desk", role="react", model="scripted/m", tools=[look], context={"max_tokens": 250}
    )
    model = ScriptedModel([*uses, "done"])
    async with running(agent, model=model) as system:
        assert (await system.call("desk", "look around")).text == "done"
    last = model.requests[-1].messages
    assert last[0].text == "look around"
    asked = [call.id for one in last for call in one.tool_calls]
    assert asked == [one.tool_call_id for one in last if one.role == "tool"]
    assert asked[-1] == "c5"
    assert len(asked) < 6
