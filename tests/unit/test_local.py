"""`aixgo.testing.local`: what the tests of users and our own run systems with."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, App, Context, Message
from aixgo.broker.open import open_broker
from aixgo.client import Question
from aixgo.config.agents import Retry
from aixgo.errors import AixgoError, ConfigError, InvalidPayload
from aixgo.models.scripted import ScriptedModel
from aixgo.models.settings import ModelSettings
from aixgo.testing import NatsServer, eventually, in_virtual_time, run_local, virtual_time
from aixgo.testing import local as local_module
from aixgo.testing.waiting import PATIENCE_SECONDS

FILE = """
version: 2
name: desk
agents:
  - {name: desk, role: react, model: openai/gpt-x, prompt: Be kind., api_key: "${SECRET}"}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as started:
        yield started


MINUTES = Retry(initial_backoff=300.0, max_backoff=300.0)


class RetryLater(AixgoError):
    retryable = True


async def echo(message: Message) -> Any:
    return message.data


async def confirm(message: Message, ctx: Context) -> str:
    answer = await ctx.ask_human(f"Pay {message.data}?", options=["yes", "no"], key="confirm")
    return f"{message.data}: {answer}"


async def twice(message: Message, ctx: Context) -> list[Any]:
    return [await ctx.ask_human("One?"), await ctx.ask_human("Two?")]


# -- what runs ---------------------------------------------------------------------------------


@in_virtual_time
async def test_agents_run_and_answer() -> None:
    async with run_local(Agent("a", echo), Agent("b", echo)) as system:
        assert (await system.call("a", 1)).data == 1
        assert (await system.call("b", 2)).data == 2
        assert system.health() == {"a": True, "b": True}


@in_virtual_time
async def test_a_file_runs_with_a_scripted_model_and_an_environment_of_its_own(
    tmp_path: Path,
) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(FILE)
    model = ScriptedModel(["Hello."])
    async with run_local(path, model=model, environment={"SECRET": "sk-1"}) as system:
        assert (await system.call("desk", "hi")).text == "Hello."
    assert [message.content for message in model.requests[0].messages] == ["Be kind.", "hi"]


@in_virtual_time
async def test_an_app_runs_as_it_is_but_with_the_model_of_the_test() -> None:
    settings = ModelSettings(default="openai/gpt-x")
    app = App([Agent("desk", role="react")], name="shop", models=settings, ack_wait=7.0)
    model = ScriptedModel(["Hello."])
    async with run_local(app, model=model) as system:
        assert (await system.call("desk", "hi")).text == "Hello."
        assert (system.app.name, system.app.ack_wait) == ("shop", 7.0)
        assert system.names.namespace != app.names.namespace
    assert model.requests[0].model == "openai/gpt-x"


@in_virtual_time
async def test_options_of_the_test_win_over_those_of_the_app() -> None:
    async with run_local(App([Agent("a", echo)], ack_wait=7.0), ack_wait=3.0) as system:
        assert system.app.ack_wait == 3.0


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ((), {}, "at least one agent"),
        ((Agent("a", echo), "agents.yaml"), {}, "given Agent, str; give it agents, or one App"),
        ((Agent("a", echo),), {"environment": {}}, "leave it out without a file"),
        ((Agent("a", echo),), {"broker": "embedded"}, "use broker='memory'"),
    ],
)
@in_virtual_time
async def test_what_makes_no_sense_is_refused_before_anything_runs(
    given: tuple[Any, ...], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        async with run_local(*given, **options):
            pytest.fail("it ran")


# -- time --------------------------------------------------------------------------------------


def test_a_decorated_test_waits_minutes_for_a_retry_in_no_time() -> None:
    tries: list[float] = []

    async def flaky(message: Message) -> str:
        tries.append(asyncio.get_running_loop().time())
        if len(tries) == 1:
            raise RetryLater("later")
        return "done"

    @in_virtual_time
    async def story(word: str, *, other: str) -> str:
        async with run_local(Agent("a", flaky, retry=MINUTES)) as system:
            result = await system.call("a", timeout=3600)
            return f"{word} {other} {result.text}"

    assert not inspect.iscoroutinefunction(story), "a runner of tests takes it for a plain function"
    assert story("it", other="is") == "it is done"
    assert tries[1] - tries[0] >= 150


# -- people ------------------------------------------------------------------------------------


@in_virtual_time
async def test_questions_are_answered_in_the_order_of_asking() -> None:
    async with run_local(Agent("a", twice), answers=["1", {"more": 2}]) as system:
        assert (await system.call("a")).data == ["1", {"more": 2}]


@in_virtual_time
async def test_a_function_answers_by_what_is_asked() -> None:
    asked: list[Question] = []

    async def person(question: Question) -> str:
        asked.append(question)
        return "no" if "100" in question.question else "yes"

    async with run_local(Agent("pay", confirm), answers=person) as system:
        results = await asyncio.gather(*(system.call("pay", sum_) for sum_ in (1, 100, 2)))
    assert [result.text for result in results] == ["1: yes", "100: no", "2: yes"]
    assert {(question.agent, question.options) for question in asked} == {("pay", ("yes", "no"))}
    assert len(asked) == 3, "each question is asked once"


@in_virtual_time
async def test_questions_that_one_run_asks_at_once_are_all_answered_once() -> None:
    asked: list[str] = []

    async def several(message: Message, ctx: Context) -> list[Any]:
        return await ctx.gather(*(ctx.ask_human(word, key=word) for word in ("a", "b", "c")))

    def person(question: Question) -> str:
        asked.append(question.question)
        return str(question.question).upper()

    async with run_local(Agent("a", several), answers=person) as system:
        assert (await system.call("a")).data == ["A", "B", "C"]
    assert sorted(asked) == ["a", "b", "c"]


@in_virtual_time
async def test_one_question_too_many_ends_the_test_and_says_which() -> None:
    words = r"agent 'a' asks 'Two\?', question 2 of a test with 1 answers"
    with pytest.raises(AssertionError, match=words):
        async with run_local(Agent("a", twice), answers=["1"]) as system:
            await system.call("a")


@in_virtual_time
async def test_an_answer_that_is_none_of_the_options_ends_the_test() -> None:
    with pytest.raises(InvalidPayload, match="choose one of: yes, no"):
        async with run_local(Agent("pay", confirm), answers=["maybe"]) as system:
            await system.call("pay", 1)


@pytest.mark.parametrize("answers", [None, ["yes"]])
@in_virtual_time
async def test_an_error_of_the_test_leaves_the_block_as_it_was_raised(
    answers: list[str] | None,
) -> None:
    cause = KeyError("cause")
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with run_local(Agent("a", echo), answers=answers):
            raise error from cause
    assert caught.value is error
    assert error.__cause__ is cause


@in_virtual_time
async def test_nobody_answers_unless_the_test_says_so() -> None:
    async with run_local(Agent("pay", confirm)) as system:
        run = await system.send("pay", 1, timeout=86_400)
        await asyncio.sleep(3600)
        (question,) = await system.questions(run)
        assert question.question == "Pay 1?"


# -- servers -----------------------------------------------------------------------------------


@pytest.mark.nats
async def test_the_same_call_runs_on_a_real_server_and_answers_there(server: NatsServer) -> None:
    async with run_local(Agent("pay", confirm), broker=server.url, answers=["yes"]) as system:
        assert system.broker.name == "nats"
        assert (await system.call("pay", 1)).text == "1: yes"


@pytest.mark.nats
async def test_the_word_embedded_starts_a_server() -> None:
    async with run_local(Agent("a", echo), broker="embedded") as system:
        assert system.broker.name == "nats"
        assert (await system.call("a", 1)).data == 1


@pytest.mark.nats
async def test_a_block_takes_with_it_what_it_kept_and_nothing_else(server: NatsServer) -> None:
    async with open_broker(server.url) as broker:
        async with run_local(Agent("a", echo), broker=server.url, namespace="kept"):
            pass
        kept = await broker.stream_names()
        assert any("aixgo-kept-" in name for name in kept)
        async with run_local(Agent("a", echo), broker=broker) as system:
            assert system.broker is broker
            assert len(await broker.stream_names()) > len(kept)
        assert await broker.stream_names() == kept
        assert broker.connected, "a connection that was given stays open"


@pytest.mark.nats
async def test_another_block_goes_on_in_a_namespace_that_has_a_name(server: NatsServer) -> None:
    async with run_local(Agent("pay", confirm), broker=server.url, namespace="later") as system:
        run = await system.send("pay", 1)
        await eventually(lambda: system.questions(run))
    async with run_local(
        Agent("pay", confirm), broker=server.url, namespace="later", answers=["yes"]
    ) as system:
        result = await system.result("pay", run, timeout=PATIENCE_SECONDS)
        assert result is not None
        assert result.text == "1: yes"


# -- the package -------------------------------------------------------------------------------


def test_it_loads_no_test_framework_and_no_client_library() -> None:
    banned = {"pytest", "nats", "anyio", "yaml", "httpx", "aiohttp"}
    code = f"import sys, aixgo.testing.local; sys.exit(repr({banned} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_the_examples_of_the_docstrings_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agents.yaml").write_text(
        "version: 2\nname: shop\nagents:\n  - {name: desk, role: react, model: x/y}\n"
    )
    monkeypatch.chdir(tmp_path)
    for module, names in ((local_module, ("ScriptedModel",)), (virtual_time, ("asyncio",))):
        text = (module.__doc__ or "").partition("\n\n")[2]
        example = text[text.index("    @in_virtual_time") :].split("\n\n")[0]
        space: dict[str, Any] = {name: globals()[name] for name in names}
        space |= {"in_virtual_time": in_virtual_time, "run_local": run_local}
        exec(textwrap.dedent(example), space)
        (test,) = [value for name, value in space.items() if name.startswith("test_")]
        test()
