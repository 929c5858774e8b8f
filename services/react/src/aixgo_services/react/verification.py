"""Guided mode: a second look at an answer before it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from aixgo import Context
from aixgo.errors import BadModelAnswer
from aixgo.models import ChatMessage

PROMPT = (
    "You check the work of an assistant. Judge whether its answer is complete, fits what was asked "
    "and is supported by what its tools returned."
)
_MOST_CHARS = 20_000
"""Of the work that is shown; the newest part counts."""


class Verdict(msgspec.Struct, frozen=True):
    """What the verifier must say."""

    done: bool
    missing: Annotated[str, msgspec.Meta(description="What still has to be done.")] = ""


class Verifier:
    """Asks the agent's model whether an answer does what was asked.

    Args:
        prompt: how to judge; empty for `PROMPT`.
    """

    def __init__(self, prompt: str = "") -> None:
        self._prompt = prompt or PROMPT

    async def missing(self, ctx: Context, messages: Sequence[ChatMessage], answer: str) -> str:
        """Return what still has to be done, for the assistant; empty when nothing has.

        A verdict that cannot be read lets the answer pass: it is the assistant's, and was paid.
        """
        work = "\n".join(f"{one.role}: {_shown(one)}" for one in messages if one.role != "system")
        if len(work) > _MOST_CHARS:
            work = f"…{work[-_MOST_CHARS:]}"
        try:
            found = await ctx.model.ask(
                [
                    ChatMessage(role="system", content=self._prompt),
                    ChatMessage(role="user", content=f"{work}\n\nThe answer to judge:\n{answer}"),
                ],
                output=Verdict,
                max_retries=1,
            )
        except BadModelAnswer as error:
            ctx.log.warning("react.verdict_unreadable", extra={"error": str(error)[:500]})
            return ""
        return "" if found.done else found.missing or "The answer is not complete yet. Go on."


def _shown(message: ChatMessage) -> str:
    used = "".join(f" [uses {call.name}({call.arguments})]" for call in message.tool_calls)
    return f"{message.text}{used}"
