"""Sends messages to an agent, one after the other, and shows what becomes of each."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aixgo.cli._inputs import Input, Inputs
from aixgo.cli._texts import Outcome
from aixgo.cli._views import View
from aixgo.client import Client
from aixgo.envelope import NO_USAGE, new_id
from aixgo.errors import AixgoError, ConfigError
from aixgo.message import Message
from aixgo.models.bus import GATEWAY
from aixgo.runs.watch import RunEvents, StepFinished, TokensArrived

HINT_SECONDS = 1.0
"""Silence after which people want to know what is going on."""

LAST_EVENTS_SECONDS = 0.5
"""For the events that are on their way when the result is there already."""

LOCAL = "local/"


class Sender:
    """Sends to one agent over a client.

    Args:
        timeout: seconds for each message.
        model: default model, to say what is being waited for.
    """

    def __init__(
        self, client: Client, agent: str, view: View, *, timeout: float, model: str = ""
    ) -> None:
        self._client, self._agent, self._view = client, agent, view
        self._timeout = timeout
        local = model.startswith(LOCAL)
        self._waiting = f"loading the local model {model}…" if local else "waiting for the model…"
        self._heard_model = False
        self._usage = NO_USAGE

    async def send_all(self, inputs: Inputs) -> bool:
        """Send every message in turn; True when each got an answer.

        Raises:
            ConfigError: what no other message could change.
        """
        well = True
        with self._view as view:
            async for message in inputs:
                view.begin(message, self._agent)
                outcome = await self._send(message)
                view.end(outcome)
                well = well and outcome.error is None
        return well

    async def _send(self, message: Input) -> Outcome:
        run, began = new_id(), time.monotonic()
        self._usage = NO_USAGE
        async with self._client.watch(run) as events:
            following = asyncio.create_task(self._follow(events), name="follow the run")
            try:
                answer, error = await self._call(message, run)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_EVENTS_SECONDS):
                        await asyncio.shield(following)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        return Outcome(
            name=message.name,
            agent=self._agent,
            run_id=run,
            seconds=time.monotonic() - began,
            answer=answer,
            error=error,
            usage=self._usage if answer is None else answer.usage,
        )

    async def _call(self, message: Input, run: str) -> tuple[Message | None, AixgoError | None]:
        try:
            found = await self._client.call(
                self._agent, message.text, timeout=self._timeout, run_id=run
            )
        except ConfigError:
            raise
        except AixgoError as error:
            return None, error
        return found, None

    async def _follow(self, events: RunEvents) -> None:
        """Show the events of a run, and remember what it used."""
        hint = asyncio.get_running_loop().call_later(HINT_SECONDS, self._hint)
        try:
            async for event in events:
                finished = isinstance(event, StepFinished)
                if isinstance(event, TokensArrived) or (finished and event.agent == GATEWAY):
                    self._heard_model = True
                self._view.event(event)
                if isinstance(event, StepFinished) and not event.step:
                    self._usage = event.usage
        finally:
            hint.cancel()

    def _hint(self) -> None:
        if not self._heard_model:
            self._view.hint(self._waiting)
