"""Keys that every tool over the network has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, SecretStr

from aixgo.config.durations import PositiveDuration
from aixgo.config.tools import ToolOptions
from aixgo.errors import ConfigError
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.kinds import WrongKey
from aixgo.tools.net.guard import Guard
from aixgo.tools.port import Effect, ToolSpec
from aixgo.web.headers import header_name, sendable_value

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Longest answer that is read: one part of a long answer may be the value."""

_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)

ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
"""1 to 64 characters of A-Z, a-z, 0-9 and '_', a letter first."""


class NetOptions(ToolOptions):
    """The keys that every tool over the network has."""

    headers: dict[str, SecretStr] = Field(default={})
    """Sent with every request. Write secrets as `${VAR}`; no error, log or record shows a value."""
    connect_timeout: PositiveDuration = 10.0
    """Time to get a connection, within `timeout`; when it is over, nothing was sent."""
    max_body: int = Field(default=MAX_BODY_BYTES, ge=1_024, le=64 * 1024 * 1024)
    """Longest answer in bytes, unpacked; a longer one is not read to its end and is an error."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts, addresses and networks that may be connected to although their addresses are not
    public, such as `api.internal` or `10.1.0.0/16`."""
    allow_private: bool = False
    """Whether all private and loopback addresses may be connected to."""


class ParameterOptions(NetOptions):
    """The keys of a tool that declares its parameters itself."""

    parameters: dict[ParameterName, dict[str, Any]] = Field(default={})
    """The arguments: for each name its JSON Schema, such as
    `{type: string, description: name of the city}`."""
    required: tuple[str, ...] | None = None
    """Arguments that must be given; without it, all that have no `default`."""


def tool_name(options: ToolOptions) -> str:
    """Return the name of a declared tool.

    Raises:
        WrongKey: it has none.
    """
    if not options.name:
        raise WrongKey(
            "name", f"a tool of type {options.type!r} needs a name; write `name: weather`"
        )
    return options.name


def guard_of(options: NetOptions, what: str) -> Guard:
    """Return the guard that a declaration asks for.

    Raises:
        WrongKey: a host is not one.
    """
    try:
        return Guard(what, allow_hosts=options.allow_hosts, allow_private=options.allow_private)
    except ConfigError as error:
        raise WrongKey("allow_hosts", str(error)) from error


def headers_of(options: NetOptions, what: str, own: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a declaration has.

    Args:
        own: headers that the tool sets itself, and which key says so, in lower case.

    Raises:
        WrongKey: one cannot be sent, or is not the declaration's business.
    """
    found: dict[str, str] = {}
    for given, secret in options.headers.items():
        header = f"{what}: header {given.strip()!r:.80}"
        try:
            name = header_name(given, header)
            found[name] = sendable_value(secret.get_secret_value(), header)
        except ConfigError as error:
            raise WrongKey("headers", str(error)) from error
        if name.lower() in _OF_THE_CONNECTION:
            raise WrongKey("headers", f"{header} belongs to the connection; leave it out")
        if name.lower() in own:
            raise WrongKey("headers", f"{header} is set by the tool itself{own[name.lower()]}")
    return found


def arguments_of(options: ParameterOptions, name: str) -> JsonArguments:
    """Return the arguments that a declaration has.

    Raises:
        WrongKey: a schema is not one, or `required` names what is not a parameter.
    """
    known = options.parameters
    required = options.required
    if required is None:
        required = tuple(one for one, schema in known.items() if "default" not in schema)
    for one in required:
        if one not in known:
            raise WrongKey("required", f"{one!r} is not one of `parameters`; add it there")
    schema = {
        "type": "object",
        "properties": known,
        "required": list(required),
        "additionalProperties": False,
    }
    try:
        return JsonArguments(name, schema)
    except ConfigError as error:
        raise WrongKey("parameters", str(error)) from error


def always_given(arguments: JsonArguments) -> set[str]:
    """Return the parameters that every execution has a value of."""
    schema = arguments.schema
    defaults = {name for name, one in schema.get("properties", {}).items() if "default" in one}
    return {*schema.get("required", ()), *defaults}


def spec_of(
    options: ToolOptions, name: str, effect: Effect, input_schema: dict[str, Any]
) -> ToolSpec:
    """Return the declaration of the tool, with the kind's own effect if it says none."""
    return ToolSpec(
        name=name,
        description=options.description,
        effect=options.effect or effect,
        timeout=options.timeout,
        retry=options.retry,
        input_schema=input_schema,
        cache=options.cache,
        concurrency=options.concurrency,
        max_result=options.max_result,
    )
