"""Elicitation: a server wants to know something of its user before it goes on.

Servers without a handshake end the use with what they want to know and a state, and the use is made
again with the answers. Servers with one ask in the middle of a use. That use is not kept open until
a person has time: they are told `cancel`, what they asked is kept, and the use is made again, in
which the same questions find their answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from aixgo.errors import ToolNotDone
from aixgo.tools.asking import NeedsAnswers, ToolQuestion

if TYPE_CHECKING:
    from mcp_types import ElicitRequestParams, ElicitResult, InputRequests, InputResponses

Answer = dict[str, Any] | None
"""What a person said; None when it was declined."""

_KEY = "question"
_answers = msgspec.json.Decoder(list[Answer])


class Use:
    """One use of a tool of a server with a handshake, in the middle of which it may ask.

    Args:
        answers: to the question that the use before this one ended with.
        state: what that use kept.
    """

    def __init__(self, answers: Mapping[str, Answer], state: str) -> None:
        self._known: list[Answer] = _answers.decode(state) if state else []
        if _KEY in answers:
            self._known.append(answers[_KEY])
        self._asked = 0
        self._open: ToolQuestion | None = None

    def answer(self, params: ElicitRequestParams) -> ElicitResult:
        """Return what the server is told: an answer that is known, else `cancel`."""
        number, self._asked = self._asked, self._asked + 1
        if number < len(self._known):
            return result_of(self._known[number])
        if self._open is None:
            self._open = question_of(params)
        return _cancelled()

    @property
    def needs(self) -> NeedsAnswers | None:
        """What it has to be made again with; None when it asked nothing that is not known."""
        if self._open is None:
            return None
        state = msgspec.json.encode(self._known).decode()
        return NeedsAnswers(questions={_KEY: self._open}, state=state)


def questions_of(tool: str, requests: InputRequests) -> dict[str, ToolQuestion]:
    """Return what a server without a handshake wants to know.

    Raises:
        ToolNotDone: it wants something else of its client, such as a model.
    """
    found: dict[str, ToolQuestion] = {}
    for key, request in requests.items():
        if request.method != "elicitation/create":
            raise ToolNotDone(
                f"{tool}: the server wants {request.method!r} of its client, which this one does "
                "not offer",
                retryable=False,
            )
        found[key] = question_of(request.params)
    return found


def responses_of(answers: Mapping[str, Answer]) -> InputResponses | None:
    """Return the answers as the protocol has them."""
    return {key: result_of(answer) for key, answer in answers.items()} or None


def question_of(params: ElicitRequestParams) -> ToolQuestion:
    """Return a question; one that leads to a page in a browser has no schema."""
    if params.mode == "url":
        return ToolQuestion(text=f"{params.message} Open {params.url} and come back.")
    schema: Any = params.requested_schema
    if hasattr(schema, "model_dump"):
        schema = schema.model_dump(by_alias=True, exclude_none=True)
    return ToolQuestion(
        text=params.message, schema=dict(schema) if schema.get("properties") else {}
    )


def result_of(answer: Answer) -> ElicitResult:
    """Return a person's answer as the protocol has it."""
    from mcp_types import ElicitResult

    if answer is None:
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content=answer or None)


def _cancelled() -> ElicitResult:
    from mcp_types import ElicitResult

    return ElicitResult(action="cancel")
