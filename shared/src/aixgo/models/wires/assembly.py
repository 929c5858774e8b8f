"""A streamed answer being put together; the same response as an answer in one piece."""

from __future__ import annotations

from typing import Any

import msgspec

from aixgo.envelope import new_id
from aixgo.models.messages import ChatMessage, ToolCall
from aixgo.models.port import ChatRequest, ChatResponse, Choice
from aixgo.models.providers import split_model
from aixgo.models.wires.answers import checked
from aixgo.models.wires.finish import finish_reason
from aixgo.models.wires.reading import record, records, string, well_formed
from aixgo.models.wires.schemas import JsonGate, json_in
from aixgo.models.wires.usage import Counter


class _Call:
    """A tool call that is still arriving."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, call_id: str, name: str) -> None:
        self.id, self.name = call_id, name
        self.arguments: list[str] = []

    def add(self, arguments: str) -> None:
        if arguments:
            self.arguments.append(arguments)

    def whole(self) -> bool:
        """Whether its arguments are complete."""
        return is_json("".join(self.arguments))

    def done(self) -> ToolCall:
        arguments = "".join(self.arguments)
        if arguments.startswith("{}{") and not is_json(arguments):
            # some proxies begin with an empty object and then send the real one
            arguments = arguments.removeprefix("{}")
        return ToolCall(
            id=well_formed(self.id) or f"call_{new_id()[-16:]}",
            name=well_formed(self.name),
            arguments=well_formed(arguments) or "{}",
        )


def is_json(text: str) -> bool:
    """Whether a text is whole JSON."""
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


class ToolCalls:
    """The tool calls of an answer, whole or in pieces.

    Servers number them from 0, number all of them 0, or not at all; they send ids once, with every
    piece, differing in one call, or never. What holds for all: a call begins with its name.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[Any, _Call] = {}

    def add(
        self, position: int, *, index: Any = None, call_id: str, name: str, arguments: str
    ) -> None:
        """Add a call or a piece of one.

        Args:
            position: in the list that it came in, for servers that send no index.
            index: the server's.
        """
        if not (call_id or name or arguments):
            return
        key = position if not isinstance(index, int | str) else str(index)
        call = self._by_index.get(key)
        if call is None and not name and self._calls:
            call = self._calls[-1]
        if call is None or self._begins_another(call, call_id, name, arguments):
            call = self._by_index[key] = _Call(call_id, name)
            self._calls.append(call)
        else:
            call.name = call.name or name
            call.id = call.id or call_id
            if name and name == call.name and call_id and arguments == "".join(call.arguments):
                return  # the whole call once more
        call.add(arguments)

    @staticmethod
    def _begins_another(call: _Call, call_id: str, name: str, arguments: str) -> bool:
        if not (name and call.name):
            return False
        if call_id and call.id:
            return call_id != call.id
        # without ids: a name that is repeated with every piece, or a second call of the same tool
        return name != call.name or (bool(arguments) and call.whole())

    def take(self, message: dict[str, Any]) -> None:
        """Add what a message or delta has, in today's form or in that of 2023."""
        entries = message.get("tool_calls")
        for position, entry in enumerate(records(entries) if entries else ()):
            function = record(entry.get("function"))
            self.add(
                position,
                index=entry.get("index"),
                call_id=string(entry.get("id")),
                name=string(function.get("name")),
                arguments=arguments_in(function.get("arguments")),
            )
        if old := message.get("function_call"):
            old = record(old)
            self.add(
                0,
                call_id="",
                name=string(old.get("name")),
                arguments=arguments_in(old.get("arguments")),
            )

    def done(self) -> tuple[ToolCall, ...]:
        """Return the calls in the order in which they began."""
        return tuple(call.done() for call in self._calls)


def arguments_in(value: Any) -> str:
    """Return arguments as text; some servers send the object itself."""
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()


class Assembly:
    """Puts a streamed answer together, and says what of its text can be handed on already.

    Attributes:
        finish: the server's word for why it ended; None until it says so.
        begun: whether any part of an answer came.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._provider, self._model = split_model(request.model)
        self._gate = JsonGate(request.response.schema) if request.response else None
        self._text: list[str] = []
        self._passed: list[str] = []
        self._half = ""
        self.calls = ToolCalls()
        self.counter = Counter()
        self.id = ""
        self.finish: str | None = None
        self.begun = False

    def named(self, answer_id: str, model: str) -> None:
        """Note the provider's id and name of the model; the first that are given count."""
        self.id = self.id or answer_id
        if model:
            self._model = model

    def text(self, piece: str) -> str:
        """Add a piece of the text; returns what can be handed on of it."""
        if self._half or not piece.isascii():
            piece = self._joined(piece)
        return self._add(piece) if piece else ""

    def _joined(self, piece: str) -> str:
        """Return a piece with the half of a character before it; keep the half at its end."""
        piece, self._half = self._half + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        return well_formed(piece)

    def _add(self, piece: str) -> str:
        self._text.append(piece)
        if self._gate is not None:
            piece = self._gate.feed(piece)
        if piece:
            self._passed.append(piece)
        return piece

    @property
    def so_far(self) -> str:
        """The text that came."""
        return "".join(self._text)

    @property
    def passed(self) -> str:
        """The text that was handed on."""
        return "".join(self._passed)

    def response(self) -> ChatResponse:
        """Return the whole answer.

        Raises:
            BadModelAnswer, ContentRefused: it breaks a promise, see `checked`.
        """
        if self._half:
            self._half = ""
            self._add("\ufffd")
        calls = self.calls.done()
        text = self.so_far
        if self._gate is not None and not calls:
            text = self._gate.answer(self.passed, text)
        message = ChatMessage(role="assistant", content=text, tool_calls=calls)
        choice = Choice(
            message=message, finish_reason=finish_reason(self.finish, has_tool_calls=bool(calls))
        )
        response = ChatResponse(
            id=well_formed(self.id),
            model=well_formed(f"{self._provider}/{self._model}"),
            choices=(choice,),
            usage=self.counter.usage,
        )
        return checked(self._request, response)


def whole_choice(
    request: ChatRequest, *, index: int, text: str, calls: ToolCalls, finish: Any
) -> Choice:
    """Return a choice that came in one piece."""
    done = calls.done()
    text = well_formed(text)
    if request.response is not None and not done:
        text = json_in(text, request.response.schema)
    return Choice(
        index=index,
        message=ChatMessage(role="assistant", content=text, tool_calls=done),
        finish_reason=finish_reason(finish, has_tool_calls=bool(done)),
    )
