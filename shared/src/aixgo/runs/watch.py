"""Watch a run while it happens: its steps as they start and finish, and the tokens on their way.

Best effort, for people: a watcher listens on the broker and costs the run nothing. What
counts are the recorded results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Self

import msgspec

from aixgo.broker.port import BusMessage
from aixgo.calls.history import Happened, decode_happened
from aixgo.calls.space import Space
from aixgo.envelope import NO_USAGE, UNREADABLE, Envelope, Failure, Status, Usage, decode
from aixgo.errors import InvalidPayload
from aixgo.models.bus import GATEWAY, TokenBatch
from aixgo.models.port import ChatResponse
from aixgo.steps.tools import noted
from aixgo.subjects import step_token

PENDING_EVENTS = 10_000
"""Events that may wait to be read; a slower reader misses some, and the run is not held up."""


class StepStarted(msgspec.Struct, frozen=True, kw_only=True):
    """An agent was called. `step` is the path inside the run; empty for the run's own call."""

    step: str
    agent: str
    caller: str
    depth: int


class StepFinished(msgspec.Struct, frozen=True, kw_only=True):
    """A step has its result; `usage` counts everything below it too."""

    step: str
    agent: str
    status: Status
    usage: Usage
    meta: dict[str, object]
    error: Failure | None = None


class TokensArrived(msgspec.Struct, frozen=True, kw_only=True):
    """More of the text that a step is writing; `again` when it begins anew.

    That is after a crash, and after a stream that broke and was asked for once more.

    `step` is empty as long as the call of the step was not seen.
    """

    agent: str
    step: str
    text: str
    again: bool = False


class ToolAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A model asks for a tool; its use is a step of the agent, and ends as one.

    Attributes:
        agent: whose tool it is.
        step: path of the model's answer.
        tool: name that the model knows it by.
        arguments: JSON text, as the model wrote it.
    """

    agent: str
    step: str
    tool: str
    arguments: str


RunEvent = StepStarted | StepFinished | TokensArrived | ToolAsked | Happened


class RunEvents:
    """The events of one run, in the order of their arrival; ends with the run's own result."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[RunEvent] = asyncio.Queue(PENDING_EVENTS)
        self._steps: dict[str, str] = {}
        self._pieces: dict[str, int] = {}
        self._over = False
        self.dropped = 0
        """Events that were not read in time."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        """Return the next event.

        Raises:
            StopAsyncIteration: the run's own result was returned before.
        """
        if self._over:
            raise StopAsyncIteration
        event = await self._queue.get()
        self._over = isinstance(event, StepFinished) and not event.step
        return event

    # -- from the broker -----------------------------------------------------------------------

    def on_call(self, message: BusMessage) -> None:
        """Take a published call."""
        call = _envelope(message)
        key = f"{call.target}.{step_token(call.step)}" if call is not None else ""
        if call is None or key in self._steps:
            return  # not for us, or published again because its acknowledgement was lost
        self._steps[key] = call.step
        self._put(
            StepStarted(step=call.step, agent=call.target, caller=call.source, depth=call.depth)
        )

    def on_result(self, message: BusMessage) -> None:
        """Take a stored result; how a tool came to its own is told by the history."""
        result = _envelope(message)
        if result is not None and not noted(result):
            self._put(
                StepFinished(
                    step=result.step,
                    agent=result.source,
                    status=result.status or "done",
                    usage=result.usage or NO_USAGE,
                    meta=result.meta,
                    error=result.error,
                )
            )
            if result.source == GATEWAY and _ASKS in result.body:
                self._on_answer(result)

    def _on_answer(self, result: Envelope) -> None:
        """Tell which tools a model's answer asks for."""
        try:
            answer = _answers.decode(result.body)
        except UNREADABLE:
            return
        for call in answer.message.tool_calls:
            self._put(
                ToolAsked(
                    agent=result.target, step=result.step, tool=call.name, arguments=call.arguments
                )
            )

    def on_history(self, message: BusMessage) -> None:
        """Take what results cannot tell: a failed execution, parking, a cancel."""
        try:
            self._put(decode_happened(message.data))
        except InvalidPayload:
            return

    def on_tokens(self, message: BusMessage) -> None:
        """Take a piece of text."""
        try:
            batch = _batches.decode(message.data)
        except msgspec.DecodeError:
            return
        agent, _, step = message.subject.rsplit(".", 3)[1:]
        key = f"{agent}.{step}"
        again = self._pieces.get(key, 0) > 0 and (batch.n == 0 or batch.again)
        self._pieces[key] = batch.n + 1
        if batch.text or again:
            self._put(
                TokensArrived(
                    agent=agent, step=self._steps.get(key, ""), text=batch.text, again=again
                )
            )

    def _put(self, event: RunEvent) -> None:
        if self._queue.full():
            self.dropped += 1
            if not (isinstance(event, StepFinished) and not event.step):
                return
            self._queue.get_nowait()  # the end must get through
        self._queue.put_nowait(event)


_batches = msgspec.json.Decoder(TokenBatch)
_answers = msgspec.json.Decoder(ChatResponse)
_ASKS = b'"tool_calls"'


def _envelope(message: BusMessage) -> Envelope | None:
    try:
        return decode(message.data)
    except InvalidPayload:
        return None


@asynccontextmanager
async def watch(space: Space, run: str) -> AsyncGenerator[RunEvents, None]:
    """See `Client.watch`."""
    broker, names = space.broker, space.names
    events = RunEvents()
    subscriptions = [
        await broker.subscribe(names.calls_in(run), events.on_call),
        await broker.subscribe(names.live_results_of(run), events.on_result),
        await broker.subscribe(names.live_history(run), events.on_history),
        await broker.subscribe(names.tokens_in(run), events.on_tokens),
    ]
    await broker.flush()
    try:
        yield events
    finally:
        for subscription in subscriptions:
            await subscription.unsubscribe()
