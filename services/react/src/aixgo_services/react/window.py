"""Keeps what a react agent sends to its model within `context.max_tokens`."""

from __future__ import annotations

from collections.abc import Sequence

from aixgo import Context
from aixgo.errors import ContextTooLong
from aixgo.models import ChatMessage
from aixgo.models.window import Gauge, measured, surplus
from aixgo.steps.session import SessionSteps
from aixgo_services.react.offer import Offer
from aixgo_services.react.options import ContextOptions

SUMMARY = "Summary of what was said before:\n"
"""How a summary begins in a conversation."""

_TASK = (
    "Summarise the conversation between a user and an assistant, for the assistant, who will go on "
    "with it and see nothing else of it. Keep names, numbers, dates, decisions, wishes of the user "
    "and what is still open. Write at most {words} words, and nothing but the summary."
)
_LEFT = 0.5
"""Share of the window that is filled when a part of the conversation was summarised: had it to be
less full by one message only, every message would need a summary."""

_AT_ONCE = 0.75
"""Share of the window that is summarised at once; the rest is for the summary before."""

_WORDS_OF_TOKENS = 0.15
"""Words of a summary for each token of the window: about a fifth of it."""

_LEAST_WORDS = 40


class Window:
    """What one run sends: all of it while it fits, then without the oldest, or a summary of it.

    Args:
        current: index of the message that is to be answered.
    """

    def __init__(
        self,
        ctx: Context,
        options: ContextOptions,
        offer: Offer,
        session: SessionSteps,
        current: int,
    ) -> None:
        self._ctx, self._options, self._session = ctx, options, session
        # an agent without a window does not pay for measuring
        self._gauge = Gauge(offer.definitions if options.max_tokens else ())
        self._current = current
        self._summaries = 0

    def learn(self, sent: Sequence[ChatMessage], counted: int) -> None:
        """Take note of how many tokens the model counted of a request."""
        if self._options.max_tokens is not None:
            self._gauge.learn(sent, counted)

    async def fit(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        """Return what is sent of the conversation.

        With `strategy: summarise` what was said before this run is replaced in `messages` itself,
        and remembered by the session: the next run begins with the summary.

        Raises:
            ContextTooLong: what has to stay is over `context.max_tokens`.
        """
        limit = self._options.max_tokens
        if limit is None:
            return messages
        gone = self._surplus(messages, limit)
        before = [index for index in gone if index < self._current]
        if before and self._options.strategy == "summarise":
            await self._summarise(messages, before, limit)
            gone = self._surplus(messages, limit)
        sent = [one for index, one in enumerate(messages) if index not in set(gone)]
        if (size := measured(sent, self._gauge)) > limit:
            raise ContextTooLong(
                f"agent {self._ctx.agent!r} has about {size:,} tokens that must be sent (its "
                f"prompt, its tools, the message, what is `pinned` and what it has to `keep`), "
                f"over its `context.max_tokens` of {limit:,}; raise it, or keep less"
            )
        return sent

    def _surplus(self, messages: list[ChatMessage], limit: int) -> list[int]:
        return surplus(
            messages,
            self._gauge,
            limit=limit,
            current=self._current,
            pinned=self._options.pinned,
            keep=self._options.keep,
        )

    async def _summarise(self, messages: list[ChatMessage], gone: list[int], limit: int) -> None:
        """Put a summary in the place of messages; each request for it is a recorded step."""
        more = self._surplus(messages, int(limit * _LEFT))
        gone = sorted({*gone, *(index for index in more if index < self._current)})
        summary, part, size = "", list[str](), 0.0
        for index in gone:
            one = messages[index]
            text = f"{one.role}: {one.text}"
            size += self._gauge.size(one)
            if part and size > limit * _AT_ONCE:
                summary = await self._asked(summary, part, limit)
                part, size = [], self._gauge.size(one)
            part.append(text)
        summary = await self._asked(summary, part, limit)
        said = ChatMessage(role="user", content=f"{SUMMARY}{summary}")
        first = gone[0]
        kept = [one for index, one in enumerate(messages) if index not in set(gone)]
        messages[:] = [*kept[:first], said, *kept[first:]]
        await self._session.summarise(said, gone[-1] - self._leading(messages))
        self._current -= len(gone) - 1

    def _leading(self, messages: list[ChatMessage]) -> int:
        """Return how many messages of the system there are before the history."""
        return next(i for i, one in enumerate(messages) if one.role != "system")

    async def _asked(self, before: str, part: list[str], limit: int) -> str:
        self._summaries += 1
        words = max(_LEAST_WORDS, int(limit * _WORDS_OF_TOKENS))
        text = "\n\n".join([f"{SUMMARY}{before}", *part] if before else part)
        answer = await self._ctx.model.chat(
            [
                ChatMessage(role="system", content=_TASK.format(words=words)),
                ChatMessage(role="user", content=text),
            ],
            key=f"summary.{self._summaries}",
        )
        return answer.text.strip()
