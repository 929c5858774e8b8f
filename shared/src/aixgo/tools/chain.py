"""Kind `chain`: tools one after the other; what one returns feeds the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from aixgo.config.agents import Options
from aixgo.config.tools import LONGEST_SECONDS, Effect, ToolBasics, ToolName
from aixgo.errors import ConfigError, ToolFailed, cut
from aixgo.payloads import to_payload
from aixgo.tools.agent import Callee
from aixgo.tools.json_arguments import JsonArguments
from aixgo.tools.json_schema import object_schema
from aixgo.tools.kinds import ToolKind, Workshop, WrongKey
from aixgo.tools.port import EFFECTS, AnyTool, Arguments, Steps, ToolSpec

if TYPE_CHECKING:
    from jsonpath import JSONPath

_PATHS = ("$.", "$[")

Feed = Callable[[dict[str, Any]], Any]
"""Makes an argument of what the chain knows: `arguments`, `result` and `steps`."""


class ChainStep(Options):
    """A tool of a chain, with its arguments."""

    tool: ToolName
    """Name of the tool."""
    arguments: dict[str, Any] | None = None
    """Its arguments. A text that begins with `$.` or `$[` is a JSON path: `$.result` is what the
    step before returned, `$.arguments` what the chain was given, `$.steps[0]` what its first step
    returned. Without it, what the step before returned is given on."""


class ChainOptions(ToolBasics):
    """Tools one after the other, of which each is a step of its own."""

    type: Literal["chain"]
    """Kind of the tool."""
    steps: tuple[ToolName | ChainStep, ...] = Field(min_length=2, max_length=50)
    """Names of tools that are declared above this one, or `server:tool` of an MCP server that the
    agent has; or mappings with `tool` and `arguments`."""
    parameters: dict[str, Any] | None = None
    """JSON schema of each argument of the chain, by name; without it, those of the first tool."""
    required: tuple[str, ...] | None = None
    """Arguments that must be there; all that have no default without it."""


class ChainKind(ToolKind):
    """Builds tools of kind `chain`."""

    options_model = ChainOptions

    @classmethod
    def build(cls, options: ChainOptions, workshop: Workshop) -> Chain:
        """See `ToolKind.build`."""
        if not options.name:
            raise ConfigError("a chain needs a `name`")
        links = [_link(step, workshop) for step in options.steps]
        return Chain(
            options.name,
            links,
            description=options.description,
            parameters=options.parameters,
            required=options.required,
        )


@dataclass(frozen=True)
class Link:
    """A tool of a chain.

    Attributes:
        tool: the tool, or its name when it is known at run time only.
        arguments: as in `ChainStep`.
    """

    tool: AnyTool | str
    arguments: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """Name of the tool."""
        return self.tool if isinstance(self.tool, str) else self.tool.spec.name


class Chain:
    """Tools one after the other as one tool (`aixgo.tools.StepsTool`).

    Each is a step of its own, with its own effect, retries and record: a chain whose process died
    goes on with the first step that had not finished. The value is that of the last one.

    Args:
        name: of the chain.
        links: its tools; what one of them returned becomes the arguments of the next that says
            nothing of its own: an object by its members, any other value as its only parameter.
        description: for models and people; the names of the tools without it.
        parameters: JSON schema of each argument, by name; without it those of the first tool.
        required: names of those that must be there; all that have no default without it.

    Raises:
        ConfigError: a schema or a path cannot be used.
    """

    def __init__(
        self,
        name: str,
        links: Sequence[Link],
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        required: Sequence[str] | None = None,
    ) -> None:
        self._name, self._links = name, tuple(links)
        self._description = description
        self._own = None if parameters is None else object_schema(parameters, required)
        self._feeds = [
            None if link.arguments is None else _feed(name, link.arguments) for link in links
        ]
        if self._own is None and isinstance(links[0].tool, str):
            raise WrongKey(
                "parameters",
                f"chain {name!r} begins with {links[0].name!r}, whose parameters are known at run "
                "time only; declare the `parameters` of the chain",
            )
        if self._own is None and links[0].arguments is not None:
            raise WrongKey(
                "parameters",
                f"chain {name!r} gives its first tool arguments of its own; declare the "
                "`parameters` of the chain",
            )
        self._learn()

    def _learn(self) -> None:
        first = self._links[0].tool
        schema = self._own
        if schema is None:
            assert not isinstance(first, str)
            schema = first.spec.input_schema
        self._input = JsonArguments(self._name, schema)
        self.spec = ToolSpec(
            name=self._name,
            description=self._description or " → ".join(link.name for link in self._links),
            effect=self._effect(),
            timeout=LONGEST_SECONDS,
            input_schema=self._input.schema,
        )

    def _effect(self) -> Effect:
        """Return the strongest effect of the steps; `once` for one that is not known yet."""
        effects: list[Effect] = [
            "once" if isinstance(link.tool, str) else link.tool.spec.effect for link in self._links
        ]
        return max(effects, key=EFFECTS.index)

    def __repr__(self) -> str:
        return f"<tool {self._name!r}: {' → '.join(link.name for link in self._links)}>"

    @property
    def agents(self) -> tuple[str, ...]:
        """See `StepsTool.agents`."""
        found = (name for link in self._links for name in getattr(link.tool, "agents", ()))
        return tuple(dict.fromkeys(found))

    def bind(self, callees: Mapping[str, Callee]) -> None:
        """Let its steps learn what the agents take that they call."""
        for link in self._links:
            if (bind := getattr(link.tool, "bind", None)) is not None:
                bind(callees)
        self._learn()

    def arguments(self, payload: msgspec.Raw) -> Arguments:
        """See `Tool.arguments`."""
        return self._input.decode(payload)

    async def run(self, arguments: Arguments, steps: Steps) -> Any:
        """Take the steps; returns the value of the last one.

        Raises:
            ToolFailed: a step failed, or what is before it cannot be made its arguments.
        """
        result: Any = dict(arguments)
        known: dict[str, Any] = {"arguments": result, "steps": []}
        for number, (link, feed) in enumerate(zip(self._links, self._feeds, strict=True), 1):
            if feed is not None:
                given = feed(known)
            else:
                given = result if number == 1 else self._from(result, link, number)
            result = await steps.tool(link.tool, given, key=str(number))
            result = msgspec.json.decode(to_payload(result))
            known = {**known, "result": result, "steps": [*known["steps"], result]}
        return result

    def _from(self, result: Any, link: Link, number: int) -> dict[str, Any]:
        """Return the arguments that the value before makes.

        Raises:
            ToolFailed: it makes none.
        """
        schema = {} if isinstance(link.tool, str) else link.tool.spec.input_schema
        properties: Mapping[str, Any] = schema.get("properties", {})
        if isinstance(result, dict) and (not schema or result.keys() <= properties.keys()):
            return result
        needed = schema.get("required") or list(properties)
        only = needed if len(needed) == 1 else list(properties)
        if len(only) == 1:
            wants_text = properties.get(only[0], {}).get("type") == "string"
            if wants_text and not isinstance(result, str):
                result = bytes(to_payload(result)).decode()
            return {only[0]: result}
        raise ToolFailed(
            self._name,
            "chain",
            1,
            f"step {number} ({link.name}) takes {', '.join(properties) or 'other arguments'}, and "
            f"the step before it returned {cut(bytes(to_payload(result)).decode(), 80)}; give the "
            "step `arguments`",
        )


def _link(step: str | ChainStep, workshop: Workshop) -> Link:
    """Return what a step of a document means.

    Raises:
        ConfigError: there is no such tool.
    """
    name, arguments = (step, None) if isinstance(step, str) else (step.tool, step.arguments)
    if ":" in name and not workshop.tools.has(name):
        return Link(name, arguments)  # of a server: known at run time
    found: Any = workshop.tools.find(name)
    if not hasattr(found, "spec"):
        raise WrongKey(
            "steps",
            f"{name!r} is a set of tools; name one of them, as `{name}:<tool>`, and give the agent "
            f"{name!r} too",
        )
    return Link(found, arguments)


def _feed(chain: str, written: Any) -> Feed:
    """Return what makes a value of what is written in `arguments`.

    Raises:
        WrongKey: it has a path that is not one.
    """
    if isinstance(written, str) and (written == "$" or written.startswith(_PATHS)):
        return _path(chain, written)
    if isinstance(written, Mapping):
        members = {key: _feed(chain, value) for key, value in written.items()}
        return lambda known: {key: feed(known) for key, feed in members.items()}
    if isinstance(written, list | tuple):
        items = [_feed(chain, value) for value in written]
        return lambda known: [feed(known) for feed in items]
    return lambda known: written


def _path(chain: str, text: str) -> Feed:
    try:
        import jsonpath
    except ImportError as error:
        raise ConfigError(
            f"chain {chain!r} has a JSON path, which needs python-jsonpath: pip install "
            "'aixgo[tools]'"
        ) from error
    try:
        path: JSONPath | Any = jsonpath.compile(text)
    except jsonpath.JSONPathError as error:
        reason = str(error).partition("\n")[0]
        raise WrongKey("steps", f"{text!r} is not a JSON path: {reason}") from error
    single = path.singular_query()

    def found(known: dict[str, Any]) -> Any:
        values = path.findall(known)
        if not single:
            return values
        if not values:
            raise ToolFailed(
                chain,
                "chain",
                1,
                f"there is nothing at {text} in what the steps before returned; correct the path, "
                "or the tool",
            )
        return values[0]

    return found
