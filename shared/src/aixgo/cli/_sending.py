"""Sends messages to an agent, one after the other, and shows what becomes of each."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aixgo.calls.history import Happened
from aixgo.cli._asking import Asking, Desk
from aixgo.cli._inputs import Input, Inputs
from aixgo.cli._live import LiveSteps
from aixgo.cli._question_texts import asked
from aixgo.cli._texts import Outcome
from aixgo.cli._views import View
from aixgo.client import Client
from aixgo.envelope import NO_USAGE, new_id
from aixgo.errors import AixgoError, ConfigError
from aixgo.message import Message
from aixgo.runs.watch import RunEvents, StepFinished

HINT_SECONDS = 1.0
"""Silence after which people want to know what is going on."""

LAST_EVENTS_SECONDS = 0.5
"""For the events that are on their way when the result is there already."""

LOCAL = "local/"


class Sender:
    """Sends to one agent over a client.

    Args:
        desk: where answers to the questions of runs come from.
        timeout: seconds for each message.
        model: default model, to say what is being waited for.
        session, user: the conversation that the messages belong to, and whose it is.
    """

    def __init__(
        self,
        client: Client,
        agent: str,
        view: View,
        desk: Desk,
        *,
        timeout: float,
        model: str = "",
        session: str = "",
        user: str = "",
    ) -> None:
        self._client, self._agent, self._view, self._desk = client, agent, view, desk
        self._timeout, self._session, self._user = timeout, session, user
        local = model.startswith(LOCAL)
        self._model = f"loading the local model {model}…" if local else "waiting for the model…"
        self._steps = LiveSteps(agent)
        self._asked = self._heard_model = False
        self._usage = NO_USAGE

    async def send_all(self, inputs: Inputs) -> bool:
        """Send every message in turn; True when each got an answer.

        Raises:
            ConfigError: what no other message could change.
        """
        well = True
        with self._view as view:
            async for message in inputs:
                self._steps, self._asked, self._usage = LiveSteps(self._agent), False, NO_USAGE
                view.begin(message, self._steps)
                outcome = await self._send(message)
                view.end(outcome)
                well = well and outcome.error is None
        return well

    async def _send(self, message: Input) -> Outcome:
        run, began = new_id(), time.monotonic()
        asking = Asking(self._client, self._agent, run, self._view, self._desk)
        async with self._client.watch(run) as events:
            following = asyncio.create_task(self._follow(events, asking), name="follow the run")
            answering = asyncio.create_task(asking.serve(), name="answer its questions")
            try:
                answer, error = await self._call(message, run)
                answering.cancel()  # what is typed now is too late
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_EVENTS_SECONDS):
                        await asyncio.shield(following)
            finally:
                following.cancel()
                answering.cancel()
                await asyncio.gather(following, answering, return_exceptions=True)
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
                self._agent,
                message.data,
                timeout=self._timeout,
                run_id=run,
                session=self._session,
                user=self._user,
            )
        except ConfigError:
            raise
        except AixgoError as error:
            return None, error
        return found, None

    async def _follow(self, events: RunEvents, asking: Asking) -> None:
        """Show the events of a run, find what it asks, and remember what it used."""
        hint = asyncio.get_running_loop().call_later(HINT_SECONDS, self._hint)
        try:
            async for event in events:
                self._view.event(event, self._steps.apply(event))
                if isinstance(event, StepFinished):
                    asking.answered(event.step)
                    if not event.step:
                        self._usage = event.usage
                elif isinstance(event, Happened) and event.what == "parked":
                    for question in await asking.look():
                        self._asked = True
                        self._steps.ask(question.step, asked(question.question))
        finally:
            hint.cancel()
            if self._steps.heard_model and not self._heard_model:
                self._heard_model, self._model = True, "waiting for the model…"

    def _hint(self) -> None:
        """Say what the run waits for, when nothing was to be seen up to now."""
        if self._asked or self._steps.heard_model:
            return
        step = self._steps.waiting()
        self._view.hint(self._model if step.models else f"waiting for {step.agent}…")
