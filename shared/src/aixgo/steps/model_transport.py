"""How a model call of a handler travels: a durable step to the gateway, its tokens on the side."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
)
from contextlib import asynccontextmanager

import msgspec

from aixgo.broker.port import Broker, BusMessage
from aixgo.errors import ModelError, RemoteError, by_code
from aixgo.message import Message
from aixgo.models.bus import ModelTask, TokenBatch

_batches = msgspec.json.Decoder(TokenBatch)


class StepTransport:
    """Carries one model call as one step (`aixgo.models.bus.Transport`).

    Args:
        tokens: subject on which the gateway streams the step's tokens.
        ask: makes the step and returns its result.
        drop: tells the gateway that the result is no longer wanted.
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


async def _until_answered(
    pieces: asyncio.Queue[TokenBatch | None], answer: asyncio.Task[bytes]
) -> AsyncGenerator[TokenBatch | bytes, None]:
    expected = 0
    while (batch := await pieces.get()) is not None:
        if batch.n == 0 and expected:  # another execution begins from the beginning
            batch = msgspec.structs.replace(batch, again=True)
        elif batch.n < expected:
            continue
        expected = batch.n + 1
        yield batch
    yield answer.result()
