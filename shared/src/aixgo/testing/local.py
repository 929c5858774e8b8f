"""Your agents in a test: on the memory broker or a real server, with no model, person or wait.

    @in_virtual_time
    async def test_the_desk_answers_in_one_call() -> None:
        model = ScriptedModel(["We refunded 20 EUR."])
        async with run_local("agents.yaml", model=model) as system:
            result = await system.call("desk", "My invoice is wrong")
        assert result.text == "We refunded 20 EUR."
        assert model.calls == 1

Nothing here imports a test framework. With pytest, `in_virtual_time` (of
`aixgo.testing.virtual_time`) makes an async test an ordinary function; plugins for async tests work
too.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any

from aixgo.agents.agent import Agent
from aixgo.broker.keyvalue import Bucket
from aixgo.broker.open import EMBEDDED, MEMORY, open_broker
from aixgo.broker.port import Broker
from aixgo.client import Question
from aixgo.envelope import new_id
from aixgo.errors import ConfigError, ConnectionClosed, Disconnected, NoQuestion
from aixgo.hosting.app import App, System
from aixgo.models.bus import GATEWAY
from aixgo.models.port import Model
from aixgo.subjects import PARKED, Names
from aixgo.testing.virtual_time import VirtualTimeLoop

Answers = Iterable[Any] | Callable[[Question], Any] | Callable[[Question], Awaitable[Any]]
"""Answers to the questions that agents ask people: in the order of asking, or made by a function.

A function sees what is asked, by whom and with which options; use one where several questions are
open at the same time, because their order is nothing to rely on.
"""

Running = Callable[..., AbstractAsyncContextManager[System]]
"""`run_local`, or what a fixture makes of it: `functools.partial(run_local, broker=url)`."""

GRACE_SECONDS = 2.0
"""For work that still runs when the block is left; a test need not wait longer."""


@asynccontextmanager
async def run_local(
    *agents: Agent | App | str | os.PathLike[str],
    broker: str | Broker = MEMORY,
    model: Model | None = None,
    answers: Answers | None = None,
    namespace: str = "",
    environment: Mapping[str, str] | None = None,
    grace: float = GRACE_SECONDS,
    **options: Any,
) -> AsyncGenerator[System, None]:
    """Run a system in this process until the block is left; yields it, ready for calls.

    Each block is a system of its own: it has a namespace that nothing else uses, and takes what it
    kept with it when it leaves. Many can use one server, one after another or at the same time.

        async with run_local(Agent("echo", echo)) as system: ...          # memory
        async with run_local(app, answers=["yes"]) as system: ...         # a person says yes
        async with run_local(app, broker="embedded") as system: ...       # a nats-server, 0.1 s
        async with run_local("agents.yaml", broker=server.url) as system: # a `NatsServer` of yours

    Time is the event loop's. In a `VirtualTimeLoop` retries, timers and hours of waiting for a
    person take no time on the memory broker: decorate the test with `in_virtual_time`. A real
    server needs real time, so the two together are refused.

    Args:
        agents: agents, or one `App`, or the path of one YAML or JSON file.
        broker: `memory`, `embedded`, an address such as `nats://host:4222`, or a connection.
        model: answers in place of every provider, such as a `ScriptedModel`; keys and endpoints
            that the system declares are not used then.
        answers: to what agents ask people, as soon as they ask.
        namespace: a name of your choice; what the system keeps stays on the server then, so that
            another block can go on with it.
        environment: of `${VAR}` in the file; the process's own without it.
        grace: seconds for work that still runs when the block is left.
        options: those of `App`; they win over what an `App` or a file says.

    Raises:
        ConfigError, BrokerError: before anything runs.
        AssertionError: out of the block, when an agent asks more than there are answers.
        InvalidPayload: out of the block, when an answer is none of the question's options.
    """
    real = isinstance(broker, str) and broker != MEMORY
    if real and isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
        raise ConfigError(
            "run_local was given a real server in a VirtualTimeLoop, where the timeouts of sockets "
            "fire at once; use broker='memory', or run the test in an ordinary event loop"
        )
    app = _app(agents, model, namespace or f"local-{new_id()[-12:]}", environment, options)
    async with _opened(broker) as connection:
        try:
            async with (
                app.running(connection, grace=grace) as system,
                _answering(system, answers),
            ):
                yield system
        finally:
            if not namespace and broker not in (MEMORY, EMBEDDED):
                await _remove(connection, app.names)


def _app(
    given: tuple[Agent | App | str | os.PathLike[str], ...],
    model: Model | None,
    namespace: str,
    environment: Mapping[str, str] | None,
    options: dict[str, Any],
) -> App:
    """Return the system to run: what was given, in another namespace and with another model.

    Raises:
        ConfigError: it is neither agents, nor one App, nor one path.
    """
    base: dict[str, Any]
    agents = [one for one in given if isinstance(one, Agent)]
    others = [one for one in given if not isinstance(one, Agent)]
    if not others:
        base = {"agents": agents}
    elif len(given) > 1:
        raise ConfigError(
            f"run_local was given {', '.join(type(one).__name__ for one in given)}; give it "
            "agents, or one App, or the path of one file"
        )
    elif isinstance(one := others[0], App):
        base = _declared(one)
    else:
        from aixgo.documents import load_document  # needs YAML: only who reads a file pays

        base = _declared(App.from_document(load_document(one, environment)))
        environment = None
    if environment is not None:
        raise ConfigError("`environment` is for the ${VAR} of a file; leave it out without a file")
    if model is not None:
        base["agents"] = [agent for agent in base["agents"] if agent.name != GATEWAY]
    return App(**{**base, "namespace": namespace, "model": model, **options})


def _declared(app: App) -> dict[str, Any]:
    """Return the arguments that make an equal App."""
    return {
        "agents": list(app.agents.values()),
        "name": app.name,
        "models": app.models,
        "ack_wait": app.ack_wait,
        "retention": app.retention,
        "power_safe": app.power_safe,
    }


def _opened(broker: str | Broker) -> AbstractAsyncContextManager[Broker]:
    """Return the connection for the length of a block; one that was given stays open."""
    return open_broker(broker, name="test") if isinstance(broker, str) else nullcontext(broker)


async def _remove(broker: Broker, names: Names) -> None:
    """Remove what a namespace keeps: a server reserves the size of every stream.

    A server that the test ended or cut off keeps it.
    """
    with suppress(ConnectionClosed, Disconnected):
        for stream in await broker.stream_names():
            kind, _, rest = stream.rpartition("aixgo-")
            if kind in ("", "KV_", "OBJ_") and rest.startswith(f"{names.namespace}-"):
                await broker.delete_stream(stream)


@asynccontextmanager
async def _answering(system: System, answers: Answers | None) -> AsyncGenerator[None, None]:
    """Answer what people are asked until the block is left; what goes wrong ends the block."""
    if answers is None:
        yield
        return
    answer = answers if callable(answers) else _in_order(answers)
    failed: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            person = group.create_task(_person(system, answer), name="answers to questions")
            try:
                yield
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:  # noqa: BLE001 # raised below, outside of the group
                failed = error
            person.cancel()
    except BaseExceptionGroup as group_error:  # of one: the person's
        first = group_error.exceptions[0]
        raise first from first.__cause__
    if failed is not None:
        raise failed


def _in_order(answers: Iterable[Any]) -> Callable[[Question], Any]:
    rest, given = iter(answers), 0

    def answer(question: Question) -> Any:
        nonlocal given
        for found in rest:
            given += 1
            return found
        raise AssertionError(
            f"agent {question.agent!r} asks {question.question!r}, question {given + 1} of a test "
            f"with {given} answers; give run_local one more, or a function"
        )

    return answer


async def _person(system: System, answer: Callable[[Question], Any]) -> None:
    """Answer every question once, the oldest first; wait for the bucket, not for time to pass."""
    said: dict[tuple[str, str], Any] = {}
    heard: set[tuple[str, str]] = set()
    async with Bucket(system.broker, system.names.bucket(PARKED)).watch() as changes:
        async for _ in changes:
            for question in await system.questions():
                one = (question.run_id, question.step)
                if one in heard:
                    continue
                if one not in said:
                    found = answer(question)
                    said[one] = await found if inspect.isawaitable(found) else found
                # an answer to another question may have woken the run: it will ask this one again
                with suppress(NoQuestion):
                    await system.answer(question.run_id, said[one], step=question.step)
                    heard.add(one)
