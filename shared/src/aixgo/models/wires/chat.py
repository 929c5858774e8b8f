"""Answers in the format of OpenAI's chat completions, whole and streamed.

What servers that imitate it really send is read too: `tests/wire/shapes` has a row for each.
"""

from __future__ import annotations

import re
from typing import Any

from aixgo.errors import ModelError
from aixgo.models.port import ChatRequest, ChatResponse, Choice
from aixgo.models.providers import split_model
from aixgo.models.wires.answers import checked
from aixgo.models.wires.assembly import Assembly, ToolCalls, whole_choice
from aixgo.models.wires.failures import failure, failure_in, refused
from aixgo.models.wires.reading import (
    Unreadable,
    loads,
    record,
    records,
    string,
    text_in,
    unreadable,
    well_formed,
)
from aixgo.models.wires.sse import Event
from aixgo.models.wires.tidy import tidy_chat, tidy_chunk
from aixgo.models.wires.usage import Counter

_DONE = b"[DONE]"
_ERROR_LINE = re.compile(rb"error\b[\s:]*", re.IGNORECASE)
_OURS = frozenset({"", "message"})


def decode_chat(request: ChatRequest, body: bytes) -> ChatResponse:
    """Return the answer of `/chat/completions`.

    Raises:
        BadModelAnswer: it cannot be read, has no choice, or is not the JSON that was asked for.
        ContentRefused: the model refused.
        ModelError: it is an error although its status is 200.
    """
    return tidy_chat(request, body) or read_chat(request, body)


def read_chat(request: ChatRequest, body: bytes) -> ChatResponse:
    """Return the answer, however untidy; errors as `decode_chat`."""
    try:
        answer = loads(body)
    except Unreadable as error:
        raise unreadable(request, body, error) from error
    if not isinstance(answer, dict):
        raise unreadable(request, body, "it is not an object")
    if failed := failure_in(request, answer):
        raise failed
    provider, model = split_model(request.model)
    counter = Counter()
    choices = records(answer.get("choices"))
    _count(counter, answer, choices)
    response = ChatResponse(
        id=well_formed(string(answer.get("id"))),
        model=well_formed(f"{provider}/{string(answer.get('model')) or model}"),
        choices=tuple(_choice(request, n, choice) for n, choice in enumerate(choices)),
        usage=counter.usage,
    )
    return checked(request, response)


def _choice(request: ChatRequest, position: int, choice: dict[str, Any]) -> Choice:
    message = record(choice.get("message") or choice.get("delta"))
    text = text_in(message.get("content"))
    if not text and (refusal := string(message.get("refusal"))):
        raise refused(request, refusal)
    calls = ToolCalls()
    calls.take(message)
    index = choice.get("index")
    return whole_choice(
        request,
        index=index if type(index) is int else position,
        text=text,
        calls=calls,
        finish=choice.get("finish_reason"),
    )


def _count(counter: Counter, answer: dict[str, Any], choices: list[dict[str, Any]]) -> None:
    """Note the usage, wherever it is."""
    for choice in choices:
        if "usage" in choice:
            counter.see(choice["usage"])
    if "x_groq" in answer:
        counter.see(record(answer["x_groq"]).get("usage"))
    if usage := answer.get("usage"):
        counter.see(usage)


class ChatStream:
    """Takes the events of a streamed answer, one by one.

    Attributes:
        ended: the server said that nothing follows.
        stray: what it sent that is not part of the format, for error messages.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._assembly = Assembly(request)
        self._refusal = ""
        self.ended = False
        self.stray = b""

    def feed(self, event: Event) -> str:
        """Return the text that an event adds.

        Raises:
            BadModelAnswer: it cannot be read.
            ModelUnavailable: the connection ended inside it.
            ModelError: it is an error in the middle of the stream.
        """
        chunk = tidy_chunk(event.data) if event.whole and not event.name else None
        if chunk is None:
            return self.read(event)
        assembly = self._assembly
        assembly.begun = True
        if not assembly.id:
            assembly.named(chunk.id, chunk.model)
        return assembly.text(chunk.choices[0].delta.content)

    def read(self, event: Event) -> str:
        """Return the text that an event adds, however untidy; errors as `feed`."""
        data = event.data.strip()
        if data.strip(b'"') == _DONE:
            self.ended = True
            return ""
        answer = self._read(event, data)
        if answer is None:
            return ""
        if event.name == "error":
            raise failure(self._request, answer.get("error") or answer)
        if event.name not in _OURS and not (answer.get("choices") or answer.get("error")):
            return ""
        if failed := failure_in(self._request, answer, event=True):
            raise failed
        assembly = self._assembly
        if not assembly.id:
            assembly.named(string(answer.get("id")), string(answer.get("model")))
        choices = records(answer.get("choices"))
        _count(assembly.counter, answer, choices)
        for choice in choices:
            if choice.get("index") in (0, None, "0"):
                return self._take(choice)
        return ""

    def _read(self, event: Event, data: bytes) -> dict[str, Any] | None:
        """Return the object in an event, or None when it is not for us."""
        try:
            answer = loads(data)
        except Unreadable as error:
            if event.name == "error":
                raise failure(self._request, data.decode("utf-8", "replace")) from None
            if match := _ERROR_LINE.match(data):
                raise self._failed(data[match.end() :] or data) from None
            if event.name in _OURS and data[:1] in (b"{", b"["):
                whole = event.whole
                raise unreadable(
                    self._request, data, error if whole else Unreadable(str(error), cut=True)
                ) from None
            self.stray = self.stray or data[:300]
            return None
        if isinstance(answer, dict):
            return answer
        if event.name == "error":
            raise failure(self._request, string(answer) or "no reason given")
        return None

    def _failed(self, text: bytes) -> ModelError:
        try:
            error = loads(text)
        except Unreadable:
            error = text.decode("utf-8", "replace")
        return failure(self._request, record(error).get("error") or error)

    def _take(self, choice: dict[str, Any]) -> str:
        assembly = self._assembly
        assembly.begun = True
        assembly.finish = string(choice.get("finish_reason")) or assembly.finish
        delta = record(choice.get("delta"))
        message = record(choice.get("message"))
        if not delta and message:
            return self._take_whole(message)
        self._refusal += string(delta.get("refusal"))
        assembly.calls.take(delta)
        return assembly.text(text_in(delta.get("content")))

    def _take_whole(self, message: dict[str, Any]) -> str:
        """Take a message where a delta belongs; some servers repeat the whole text at the end."""
        assembly = self._assembly
        text, so_far = text_in(message.get("content")), assembly.so_far
        assembly.calls.take(message)
        return assembly.text(text.removeprefix(so_far) if text.startswith(so_far) else text)

    @property
    def passed(self) -> str:
        """The text that `feed` returned so far."""
        return self._assembly.passed

    @property
    def finished(self) -> bool:
        """Whether nothing of the answer is missing.

        It said why it ended; or something came, and then that nothing follows.
        """
        return self._assembly.finish is not None or (self.ended and self._assembly.begun)

    def response(self) -> ChatResponse:
        """Return the whole answer; errors as `decode_chat`."""
        if self._refusal and not self._assembly.so_far:
            raise refused(self._request, self._refusal)
        return self._assembly.response()
