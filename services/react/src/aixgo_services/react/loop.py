"""The loop: the model answers, its tools are used, until it has its answer or reaches a limit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from aixgo import Context
from aixgo.config.agents import AgentSpec
from aixgo.errors import BadModelAnswer
from aixgo.models import ChatMessage, ChatResponse, ResponseSchema
from aixgo_services.react.acting import Acting, sayable
from aixgo_services.react.offer import Offer
from aixgo_services.react.options import ReactOptions
from aixgo_services.react.verification import Verifier
from aixgo_services.react.window import Window

Limit = Literal["iterations", "tokens", "time"]

_TIME_SHARE = 0.8
"""Of the time of a run, after which the model has to answer: the answer takes time too."""

_ANSWER_NOW = (
    "No more tools can be used now. Give the best answer that you can with what you know, and say "
    "what is missing."
)


@dataclass(kw_only=True)
class Loop:
    """One run of a react agent.

    Attributes:
        response: the form of the answers, of an agent that has no tools and no verifier.
        iterations: answers of the model up to now.
        limit: which limit the last answer was forced by; None for none.
        sent: the conversation that the last answer was given to.
    """

    spec: AgentSpec
    options: ReactOptions
    ctx: Context
    offer: Offer
    acting: Acting
    verifier: Verifier | None
    seconds: float
    window: Window
    response: ResponseSchema | None = None
    iterations: int = 0
    limit: Limit | None = None
    sent: list[ChatMessage] = field(default_factory=list, init=False)
    _last: ChatResponse | None = field(default=None, init=False)

    async def run(self, messages: list[ChatMessage]) -> ChatResponse:
        """Return the final answer; the conversation grows in `messages`.

        Raises:
            BadModelAnswer: it has no text, only tools that it wants to use after the limit; final.
            ModelError: the model did not answer.
        """
        while True:
            answer = await self._turn(messages)
            calls = answer.message.tool_calls
            if self.limit is None and calls:
                messages.append(sayable(answer.message))
                messages += await self.acting.answer(self.iterations, calls)
                continue
            if calls and not answer.text.strip():
                raise self._no_answer(answer)
            if self.limit is not None or self.verifier is None:
                return answer
            wanted = await self.verifier.missing(self.ctx, messages, answer.text)
            if not wanted:
                return answer
            messages.append(answer.message)
            messages.append(ChatMessage(role="user", content=wanted))

    async def _turn(self, messages: list[ChatMessage]) -> ChatResponse:
        """Ask the model once more; at a limit, for its last answer."""
        self.limit = self._reached()
        self.iterations += 1
        choice = ""
        if self.offer.definitions:
            choice = self.options.tool_choice if self.iterations == 1 else "auto"
            if self.limit is not None:
                choice = "none"
                messages.append(ChatMessage(role="user", content=_ANSWER_NOW))
        self.sent = await self.window.fit(messages)
        self._last = await self.ctx.model.chat(
            self.sent,
            tools=self.offer.definitions,
            tool_choice=choice,
            stream=self.options.stream,
            response=self.response,
        )
        self.window.learn(self.sent, self._last.usage.prompt_tokens)
        return self._last

    def _reached(self) -> Limit | None:
        """Return the limit that leaves room for one more answer only.

        By what is recorded of the run and nothing else, so that every execution comes to the same.
        """
        if self._last is None:
            return None
        if self.iterations + 1 >= self.options.iterations:
            return "iterations"
        next_costs = self._last.usage.total_tokens  # at least: the conversation only grows
        if self.ctx.usage.total_tokens + 2 * next_costs > self.spec.limits.max_tokens:
            return "tokens"
        if self.ctx.worked > _TIME_SHARE * self.seconds:
            return "time"
        return None

    def _no_answer(self, answer: ChatResponse) -> BadModelAnswer:
        error = BadModelAnswer(
            f"agent {self.spec.name!r} reached its limit of {self._said_limit()}, and "
            f"{answer.model or 'the model'} wanted to use tools instead of giving its answer; "
            "raise the limit, or use a model that can do without tools"
        )
        error.retryable = False  # its answers are recorded: running again repeats them
        return error

    def _said_limit(self) -> str:
        if self.limit == "tokens":
            return f"{self.spec.limits.max_tokens:,} tokens (`limits.max_tokens`)"
        if self.limit == "time":
            return f"{self.seconds:g} s (`timeout`)"
        return f"{self.options.iterations} answers (`max_iterations`)"
