"""How a model call of a handler travels: a durable step to the gateway, its tokens on the side."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager

import msgspec
from msgspec.structs import replace

from aixgo.broker._port import Broker, BusMessage
from aixgo.config.agents import AgentSpec
from aixgo.envelope import Override
from aixgo.errors import ModelError, RemoteError, by_code
from aixgo.message import Message
from aixgo.models._port import ChatMessage
from aixgo.models.bus import ModelTask, TokenBatch

_batches = msgspec.json.Decoder(TokenBatch)


class StepTransport:
    """Carries one model call as one step (`aixgo.models.bus.Transport`).

    Args:
        tokens: subject on which the gateway streams the step's tokens.
        ask: makes the step and returns its result.
        drop: tells the gateway that nobody wants the result any more.
    """

    def __init__(
        self,
        broker: Broker,
        tokens: str,
        ask: Callable[[ModelTask], Awaitable[Message]],
        drop: Callable[[], Awaitable[None]],
    ) -> None:
        self._broker, self._tokens, self._ask, self._drop = broker, tokens, ask, drop

    async def send(self, task: ModelTask) -> bytes:
        """Return the answer's JSON.

        Raises:
            ModelError: as the gateway said; not to be retried, because the gateway has, and the
                failure is recorded.
            CallError: the gateway did not answer at all.
        """
        try:
            answer = await self._ask(task)
        except RemoteError as error:
            kind = by_code().get(error.cause)
            if kind is None or not issubclass(kind, ModelError):
                raise
            failed = kind(str(error))
            failed.retryable = False
            raise failed from error
        return answer.envelope.body

    @asynccontextmanager
    async def send_streaming(
        self, task: ModelTask
    ) -> AsyncGenerator[AsyncIterator[TokenBatch | bytes], None]:
        """Yield token batches as they come, and at the end the answer; leaving early cancels it."""
        pieces: asyncio.Queue[TokenBatch | None] = asyncio.Queue()

        def arrive(message: BusMessage) -> None:
            pieces.put_nowait(_batches.decode(message.data))

        live = await self._broker.subscribe(self._tokens, arrive)
        answer = asyncio.create_task(self.send(task), name=f"model call {self._tokens}")
        answer.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            yield _until_answered(pieces, answer)
        finally:
            await live.unsubscribe()
            if not answer.done():
                answer.cancel()
                await self._drop()
            await asyncio.gather(answer, return_exceptions=True)


def in_force(overrides: Sequence[Override], run: str) -> Sequence[Override]:
    """Return the overrides that a step was executed with in a run, itself a fork or its origin."""
    runs = [override.run for override in overrides]
    return overrides[: runs.index(run) + 1] if run in runs else ()


def overridden(
    task: ModelTask, overrides: Iterable[Override], path: str, spec: AgentSpec, declared_model: str
) -> ModelTask:
    """Return the task of the model step at `path` as the overrides of its run want it.

    An override replaces what the agent declares: its model where the request names that one, its
    prompt where the system message has it, and where there is no system message. At the very step
    that the override names, it replaces the model and the whole system message.
    """
    for override in overrides:
        if override.agent != spec.name:
            continue
        here = override.step == path
        if override.model:
            task = _with_model(task, override.model, None if here else declared_model)
            declared_model = override.model
        if override.prompt and task.chat is not None:
            messages = _with_prompt(task.chat.messages, override.prompt, spec.prompt, whole=here)
            task = replace(task, chat=replace(task.chat, messages=messages))
            spec = spec.model_copy(update={"prompt": override.prompt})
    return task


def _with_model(task: ModelTask, model: str, instead_of: str | None) -> ModelTask:
    """Name another model; the address of the agent's own server is of use to its provider only."""
    request = task.request
    if instead_of is not None and request.model != instead_of:
        return task
    same = model.partition("/")[0] == request.model.partition("/")[0]
    base_url = request.base_url if same else ""
    if task.chat is not None:
        return replace(task, chat=replace(task.chat, model=model, base_url=base_url))
    if instead_of is not None:  # texts are embedded by another model than the agent's
        return task
    return replace(task, embed=replace(request, model=model, base_url=base_url))


def _with_prompt(
    messages: tuple[ChatMessage, ...], prompt: str, declared: str, *, whole: bool
) -> tuple[ChatMessage, ...]:
    first = messages[0] if messages and messages[0].role == "system" else None
    if first is None:
        if declared and not whole:  # the handler leaves its prompt out on purpose
            return messages
        return (ChatMessage(role="system", content=prompt), *messages)
    if whole:
        return (replace(first, content=prompt), *messages[1:])
    if declared and declared in first.content:
        return (replace(first, content=first.content.replace(declared, prompt, 1)), *messages[1:])
    return messages


async def _until_answered(
    pieces: asyncio.Queue[TokenBatch | None], answer: asyncio.Task[bytes]
) -> AsyncGenerator[TokenBatch | bytes, None]:
    expected = 0
    while (batch := await pieces.get()) is not None:
        if batch.n < expected:  # a repeated execution streams from the beginning again
            continue
        expected = batch.n + 1
        yield batch
    yield answer.result()
