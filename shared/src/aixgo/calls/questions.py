"""What runs ask people: the open questions, and their answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from aixgo.calls.json_schema import misfit
from aixgo.calls.results import result_of
from aixgo.calls.space import Space
from aixgo.envelope import Envelope, new_id
from aixgo.errors import InvalidPayload, NoQuestion, code_of
from aixgo.payloads import to_payload

log = logging.getLogger("aixgo.client")

_TO_THE_END_SECONDS = 10.0
"""For a cancelled `answer` to wake the run that it answered; upkeep does it later otherwise."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a run asks a person; times are Unix seconds, `until` the end of the run."""

    run_id: str
    step: str
    agent: str
    question: Any
    options: tuple[str, ...]
    since: float
    until: float | None
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON schema of the value in an answer `{option: value}`, by option."""

    def check(self, answer: Any) -> None:
        """Refuse what is not an answer to it.

        Raises:
            InvalidPayload: it is none of the options, or its value does not fit.
        """
        told = isinstance(answer, dict) and len(answer) == 1
        chosen = next(iter(answer)) if told else answer
        if self.options and chosen not in self.options:
            raise InvalidPayload(
                f"{answer!r:.200} is not an answer to {self.question!r:.500}; choose one of: "
                f"{', '.join(self.options)}, or {{option: value}} to say more"
            )
        schema = self.schemas.get(chosen) if isinstance(chosen, str) else None
        if schema is None:
            return
        wrong = misfit(answer[chosen] if told else None, schema)
        if wrong:
            raise InvalidPayload(
                f"the value of {chosen!r} does not fit the tool's type: {wrong}; answer with "
                f"{{{chosen!r}: value}}"
            )


async def open_questions(space: Space, run_id: str = "") -> list[Question]:
    """Return what people are asked, oldest first: of one run, or of all."""
    # a server that was killed may bring back a call that has ended, until a sweep finds it
    calls = [
        call
        for call in await space.parking.all(run_id)
        if any(step.question is not None for step in call.awaited)
        and not await _has_ended(space, call.request)
    ]
    return [
        Question(
            run_id=call.request.run,
            step=step.step,
            agent=step.agent,
            question=step.question,
            options=step.options,
            since=call.since,
            until=call.until,
            schemas=step.schemas,
        )
        for call in sorted(calls, key=lambda call: call.since)
        for step in call.awaited
        if step.question is not None
    ]


async def give_answer(space: Space, run_id: str, answer: Any, *, step: str, source: str) -> None:
    """Answer the question of a run, and wake what waits for it; the first answer counts.

    Args:
        step: which question, when the run asks several at once; or empty.
        source: who answers.

    Raises:
        NoQuestion: the run asks nothing (or no longer), nothing at `step`, or several things.
        InvalidPayload: it is not an answer to the question.
    """
    found = await open_questions(space, run_id)
    asked = [one for one in found if step in ("", one.step)]
    if len(asked) != 1:
        raise NoQuestion(run_id, [one.step for one in found], step)
    (question,) = asked
    question.check(answer)
    frame = Envelope(id=new_id(), kind="call", source=source, run=run_id, step=question.step)
    result = result_of(frame, question.agent, "done", payload=to_payload(answer))
    await _to_the_end(_settle(space, question, result))


async def _settle(space: Space, question: Question, result: Envelope) -> None:
    """Store the answer to a question, and wake what waits for it."""
    await space.results.settle(question.agent, result, ends=True)
    for call in await space.parking.all(question.run_id):
        if any(awaited.step == question.step for awaited in call.awaited):
            await space.parking.wake(question.run_id, call.request.step)


async def _has_ended(space: Space, request: Envelope) -> bool:
    return await space.results.stands(request.target, request.run, request.step)


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await what must not be done by half: a cancelled caller waits for it, up to a limit."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        _, late = await asyncio.wait([task], timeout=_TO_THE_END_SECONDS)
        if late:
            task.cancel()
        elif not task.cancelled() and (error := task.exception()) is not None:
            log.warning("answer.not_given", extra={"error": code_of(error)}, exc_info=error)
        raise
