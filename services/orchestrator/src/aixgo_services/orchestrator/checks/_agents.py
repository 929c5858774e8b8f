"""The agents that the checks run patterns over, and how they look at what came out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from aixgo.agents.agent import Agent
from aixgo.envelope import Usage
from aixgo.errors import AixgoError, ConfigError, InvalidPayload, RemoteError
from aixgo.hosting.app import System
from aixgo.message import Message, Reply
from aixgo.steps.context import Context
from aixgo.testing.expect import equal
from aixgo.testing.local import Running

Check = Callable[[Running], Awaitable[None]]

PRICED = Usage(prompt_tokens=8, completion_tokens=2, model_calls=1, cost_usd=0.25)
"""What a `worker` uses: binary fractions, so that sums are exact."""

UNPRICED = Usage(prompt_tokens=5, completion_tokens=5, model_calls=1, unpriced_calls=1)


class Seen:
    """What the agents of a check were given, in order: (agent, payload, metadata)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any, Mapping[str, Any]]] = []

    @property
    def agents(self) -> list[str]:
        """The agents that ran, in order."""
        return [agent for agent, _, _ in self.calls]

    def note(self, agent: str, message: Message) -> None:
        """Remember what an agent was given."""
        self.calls.append((agent, message.data, dict(message.meta)))


def worker(name: str, seen: Seen, *, usage: Usage = PRICED, **meta: Any) -> Agent:
    """Return an agent that answers `<input>+<name>`, with metadata and usage."""

    async def work(message: Message, ctx: Context) -> Reply:
        seen.note(name, message)
        ctx.add_usage(usage)
        return Reply(f"{message.text}+{name}", meta=meta)

    return Agent(name, work)


def sorter(name: str, seen: Seen, *, usage: Usage = PRICED, **verdict: Any) -> Agent:
    """Return a classifier that always answers with the metadata `verdict`.

    It also spoils the payload that it was given, which must not be shared with others.
    """

    async def sort(message: Message, ctx: Context) -> Reply:
        seen.note(name, message)
        ctx.add_usage(usage)
        if isinstance(message.data, dict):
            message.data.clear()
        return Reply("sorted", meta=verdict)

    return Agent(name, sort)


def broken(name: str, seen: Seen) -> Agent:
    """Return an agent that fails for good."""

    async def fail(message: Message) -> str:
        seen.note(name, message)
        raise InvalidPayload(f"{name} cannot read this")

    return Agent(name, fail)


def sequence(name: str, *agents: str, **options: Any) -> Agent:
    """Return a sequential orchestrator."""
    return Agent(name, role="orchestrator", pattern="sequential", agents=list(agents), **options)


def routing(name: str, classifier: str, routes: Mapping[str, str], **options: Any) -> Agent:
    """Return a router."""
    return Agent(
        name,
        role="orchestrator",
        pattern="router",
        classifier=classifier,
        routes=dict(routes),
        **options,
    )


async def refused_to_start(system: AbstractAsyncContextManager[System], *words: str) -> None:
    """Assert that a system is refused before it runs, by a ConfigError that has the words."""
    try:
        async with system:
            pass
    except ConfigError as error:
        text = str(error)
    else:
        raise AssertionError(f"the system was accepted; expected an error with {words}")
    for word in words:
        assert word in text, f"expected {word!r} in {text!r}"


async def error_of(call: Awaitable[Message]) -> AixgoError:
    """Return the error that a call ends with."""
    try:
        message = await call
    except AixgoError as error:
        return error
    raise AssertionError(f"expected an error, got {message!r}")


async def failure_of(call: Awaitable[Message], cause: str, *words: str) -> RemoteError:
    """Return a failed call's error, whose code is `cause` and whose text has the words."""
    error = await error_of(call)
    assert isinstance(error, RemoteError), f"expected a RemoteError, got {error!r}"
    equal(f"code of {error}", error.cause, cause)
    for word in words:
        assert word in str(error), f"expected {word!r} in {str(error)!r}"
    return error
