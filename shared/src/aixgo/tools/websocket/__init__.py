"""The kind `websocket`: a message, and the answer or the stream of answers to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue

from aixgo.config.durations import PositiveDuration
from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.tools.kinds import ToolKind, Workshop, WrongKey
from aixgo.tools.net.answers import hidden_headers, secret_headers
from aixgo.tools.net.options import (
    ParameterOptions,
    always_given,
    arguments_of,
    guard_of,
    headers_of,
    spec_of,
    tool_name,
)
from aixgo.tools.net.templates import JsonTemplate, Template
from aixgo.tools.websocket.replies import Reading, check_message
from aixgo.web.secrets import Secrets

if TYPE_CHECKING:
    from aixgo.tools.websocket.tool import WebSocketTool

__all__ = ["WebSocketKind", "WebSocketOptions"]


class WebSocketOptions(ParameterOptions):
    """A message over a WebSocket, and the answer or the stream of answers to it."""

    type: Literal["websocket"]
    """Kind of the tool."""
    url: str = Field(min_length=1, max_length=8_000, repr=False)
    """Address, with ws:// or wss://; the same for all requests."""
    message: dict[str, JsonValue] | str = Field(repr=False)
    """What is sent: JSON with `{parameter}` in its texts (a text that is one place becomes the
    value, of any type), or a text that is sent as it is."""
    id_field: str = ""
    """Member of the message that gets a number of the request, and that the far side repeats in its
    answers; then requests run side by side. Without it they take turns."""
    key_field: str = ""
    """Member of the message that gets the idempotency key of the step, unless the tool only
    reads."""
    result: str = ""
    """JSON path of the value in an answer (RFC 9535); without it, all of it."""
    error: str = ""
    """JSON path of what the far side says when it refuses, such as `$.error`."""
    end: str | dict[str, JsonValue] | None = None
    """Marker at the end of a stream: the text of the last message, or values by member or JSON path
    of it, such as `{type: done}`. Without it, one message is the answer."""
    join: str | None = None
    """With `end`: the values of the messages become one text, with this in between; otherwise they
    are a list."""
    max_messages: int = Field(default=1_000, ge=1, le=100_000)
    """With `end`: most messages of one stream; `max_body` limits the bytes of all together."""
    heartbeat: PositiveDuration = 20.0
    """Between two pings; a far side that does not answer one is gone."""


class WebSocketKind(ToolKind):
    """Builds tools of type `websocket`."""

    options_model = WebSocketOptions

    @classmethod
    def build(cls, options: WebSocketOptions, workshop: Workshop) -> WebSocketTool:
        """See `ToolKind.build`."""
        from aixgo.tools.net.web import Web
        from aixgo.tools.websocket.tool import Line, WebSocketTool

        name = tool_name(options)
        what = f"tool {name!r}"
        _check_url(options.url, what)
        arguments = arguments_of(options, name)
        message = _message(options, what, always_given(arguments))
        headers = headers_of(options, what, {})
        query = urlsplit(options.url).query
        secrets = [
            *secret_headers(headers.items()),
            *(pair.partition("=")[2] for pair in query.split("&")),
        ]
        spec = spec_of(options, name, "once", arguments.schema)
        line = Line(
            url=options.url.strip(),
            headers=headers,
            id_field=options.id_field,
            key_field=options.key_field,
            heartbeat=options.heartbeat,
            max_bytes=options.max_body,
        )
        web = Web(
            what,
            guard_of(options, what),
            once=False,
            max_body=options.max_body,
            connect_timeout=options.connect_timeout,
            secrets=Secrets(secrets),
        )
        reading = _reading(options, what, Secrets(secrets), headers)
        return WebSocketTool(spec, arguments, message, line, reading, web)


def _check_url(url: str, what: str) -> None:
    from aixgo.tools.net.exchange import normal_origin

    scheme, _, rest = url.strip().partition("://")
    if scheme.lower() not in ("ws", "wss"):
        raise WrongKey("url", "needs ws:// or wss:// and a host, such as wss://api.example.com/v1")
    if "{" in rest or "}" in rest:
        raise WrongKey(
            "url",
            "has a place in braces; one connection serves all requests, so values go into "
            "`message`",
        )
    if "#" in rest:
        raise WrongKey("url", "what follows '#' is never sent; leave it out")
    try:
        normal_origin(f"http{scheme.lower()[2:]}://{rest.partition('?')[0]}", what)
    except ConfigError as error:
        raise WrongKey("url", str(error).replace("https://", "wss://")) from error


def _message(options: WebSocketOptions, what: str, given: set[str]) -> JsonTemplate | Template:
    message: JsonTemplate | Template
    try:
        check_message(options.message, f"{what}: message", options.id_field, options.key_field)
        if isinstance(options.message, str):
            message = Template.parse(options.message, f"{what}: message")
        else:
            message = JsonTemplate(options.message, f"{what}: message")
    except ConfigError as error:
        raise WrongKey("message", str(error)) from error
    names = set(message.names)
    for name in sorted(names - options.parameters.keys()):
        near = did_you_mean(name, options.parameters) or "; declare it in `parameters`"
        raise WrongKey("message", f"{{{name}}} is not a parameter of the tool{near}")
    for name in sorted(options.parameters.keys() - names):
        raise WrongKey("parameters", f"{name!r} goes nowhere; write {{{name}}} in `message`")
    if isinstance(message, Template) and (missing := sorted(names - given)):
        raise WrongKey(
            "message",
            f"{{{missing[0]}}} is part of a text, so it must always be there; add it to "
            "`required`, or give it a `default`",
        )
    return message


def _reading(
    options: WebSocketOptions, what: str, secrets: Secrets, headers: dict[str, str]
) -> Reading:
    if options.end is None:
        for key in ("join", "max_messages"):
            if key in options.model_fields_set:
                raise WrongKey(key, "is for streams; add `end` with the marker of the last message")
    if options.end in ("", {}):
        raise WrongKey("end", "marks nothing; write a text, or a mapping such as {type: done}")
    given: dict[str, Any] = {
        "result": options.result,
        "error": options.error,
        "end": options.end,
        "join": options.join,
        "max_messages": options.max_messages,
    }
    try:
        return Reading(
            what, **given, secrets=secrets, hidden=Secrets(hidden_headers(headers.items()))
        )
    except ConfigError as error:
        key = next((key for key in ("result", "error", "end") if f": {key}:" in str(error)), "")
        raise WrongKey(key, str(error)) from error
