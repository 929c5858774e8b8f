"""`Classifier`: asks its model for one of the declared categories, and says how sure it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

import msgspec

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import model_text
from aixgo.agents.role import Style
from aixgo.config.agents import AgentSpec
from aixgo.errors import BadModelAnswer
from aixgo.models import ChatMessage
from aixgo_services.classifier.options import ClassifierOptions
from aixgo_services.classifier.prompt import Prompt

TRIES = 3
"""Answers asked for before one that fits is given up; the error is told to the model each time."""

TEMPERATURE = 0.3
MAX_TOKENS = 500
"""Defaults of a classifier that declares none: nearly the same answer each time, room for reasons.
"""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model must say; without a confidence when votes are counted instead."""

    category: str
    confidence: float | None = None
    reasoning: str = ""


_decoder = msgspec.json.Decoder(Answer)


class Classifier(Role):
    """Answers a message with its category and the confidence in it, also as metadata."""

    style: ClassVar[Style] = "hybrid"
    options_model = ClassifierOptions
    calls_models = True

    def __init__(self, spec: AgentSpec, options: ClassifierOptions) -> None:
        super().__init__(spec, options)
        self._votes, self._threshold = options.votes, options.confidence_threshold
        self._names = [category.name for category in options.categories]
        self._prompt = Prompt(options, spec.prompt)
        self._temperature = TEMPERATURE if spec.temperature is None else spec.temperature
        self._max_tokens = MAX_TOKENS if spec.max_tokens is None else spec.max_tokens

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return `{category, confidence, …}`, with `below_threshold` in the metadata too.

        Raises:
            InvalidPayload: the message cannot be given to a model.
            BadModelAnswer: a vote had no category in `TRIES` answers; final.
            ModelError: the model did not answer.
        """
        text = model_text(message)
        answers = await self._ask_all(text, ctx)
        counts = Counter(answer.category for answer in answers)
        category, most = counts.most_common(1)[0]
        winner = next(answer for answer in answers if answer.category == category)
        confidence = most / len(answers) if winner.confidence is None else winner.confidence
        data = {"category": category, "confidence": confidence}
        verdict = {
            "category": category,
            "confidence": confidence,
            "below_threshold": confidence < self._threshold,
        }
        if winner.reasoning:
            data["reasoning"] = winner.reasoning
        if self._votes > 1:
            data["votes"] = dict(counts)
        return Reply(data, meta=verdict)

    async def _ask_all(self, text: str, ctx: Context) -> list[Answer]:
        """Return one answer for each vote, asked for at once."""
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._ask(text, vote, ctx), name=f"{self.name}: vote {vote}")
                    for vote in range(self._votes)
                ]
        except ExceptionGroup as failed:
            raise _first(failed) from None
        return [task.result() for task in asked]

    async def _ask(self, text: str, vote: int, ctx: Context) -> Answer:
        messages = self._prompt.conversation(text, vote)
        error: BadModelAnswer | None = None
        for attempt in range(1, TRIES + 1):
            try:
                return await self._try(messages, f"vote{vote + 1}.try{attempt}", ctx)
            except BadModelAnswer as wrong:
                error = wrong
                messages.append(
                    ChatMessage(
                        role="user",
                        content=f"That cannot be used: {wrong}. Answer again, with nothing but the "
                        f"JSON object; the category is one of: {', '.join(self._names)}.",
                    )
                )
        failure = BadModelAnswer(
            f"agent {self.name!r} got no category in {TRIES} answers; the last: {error}. Use a "
            "model that can follow a JSON schema, or describe the categories better"
        )
        failure.retryable = False  # the tries are recorded steps: running again repeats them
        raise failure from error

    async def _try(self, messages: list[ChatMessage], key: str, ctx: Context) -> Answer:
        """Return the model's answer; a wrong one joins the conversation.

        Raises:
            BadModelAnswer: it does not answer this question; says why.
        """
        response = await ctx.model.chat(
            messages,
            key=key,
            temperature=self._temperature,
            max_tokens=self._max_tokens,
            response=self._prompt.schema,
        )
        try:
            return self._read(response.text)
        except BadModelAnswer:
            messages.append(ChatMessage(role="assistant", content=response.text))
            raise

    def _read(self, text: str) -> Answer:
        try:
            answer = _decoder.decode(text)
        except msgspec.DecodeError as error:
            raise BadModelAnswer(f"the answer {text[:200]!r} does not fit: {error}") from error
        if answer.category not in self._names:
            raise BadModelAnswer(f"{answer.category!r} is not a category")
        if self._votes == 1 and (answer.confidence is None or not 0 <= answer.confidence <= 1):
            raise BadModelAnswer(
                f"the confidence {answer.confidence!r} is not a number from 0 to 1"
            )
        return answer


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first error of a group, so that callers see an error and not a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error
