"""What is declared of an agent, checked in one place for Python, YAML and JSON.

`declare` finds everything that is wrong with one declaration; `Agent(…)` says it in one
`ConfigError`, a document says it with line and column.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from aixgo.agents.agent_tools import TOOL_KEYS, ToolsOfAgent
from aixgo.agents.handler import Handler, HandlerRole, HandlerShape
from aixgo.agents.role import ROLES, Listening, Role, find_role, known_roles
from aixgo.config.agents import AgentSpec, Options
from aixgo.config.problems import Invalid, Problem, UnknownKey, Wrong
from aixgo.config.reference import broken, imported
from aixgo.errors import AixgoError, ConfigError, by_code
from aixgo.hooks.chain import NO_HOOKS, Hooks, WrongHook
from aixgo.tools.declared import DeclaredTools
from aixgo.tools.toolbox import NO_TOOLS, Toolbox

CUSTOM = "custom"
"""Role of an agent whose behaviour is a handler of the user's own."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """An agent as it was declared; checked, nothing built yet.

    Attributes:
        spec: the part that every role shares.
        options: the role's own part, an instance of `role.options_for(…)`.
        role: the behaviour's class; `HandlerRole` for an agent with a handler of its own.
        tools: what the agent may use with `ctx.tool`.
        hooks: what looks at its steps.
        shape: the handler and what it takes and returns; None for an installed role.
    """

    spec: AgentSpec
    options: Options
    role: type[Role]
    tools: Toolbox = NO_TOOLS
    hooks: Hooks = NO_HOOKS
    shape: HandlerShape | None = None

    def calls(self) -> tuple[str, ...]:
        """Return the agents that this one may call: its role's, and those of its tools.

        Those that a handler calls itself are not known.

        Raises:
            ConfigError: the role finds its options wrong together.
        """
        role = () if self.shape is not None else self.build().calls()
        return tuple(dict.fromkeys((*role, *self.tools.agents)))

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON schema of what the agent answers; empty when that can be anything.

        Raises:
            ConfigError: the role finds its options wrong together.
        """
        return self.build().output_schema() if self.shape is None else self.shape.output_schema

    @property
    def service(self) -> str:
        """Name of the service that serves it: the installed role, or its own name."""
        own = self.spec.role == CUSTOM or self.spec.role not in ROLES
        return self.spec.name if own else self.spec.role

    def listens(self) -> tuple[Listening, ...]:
        """Return the messages of other systems that the agent takes.

        Raises:
            ConfigError: the role finds its options wrong together.
        """
        return () if self.shape is not None else self.build().listens()

    def build(self) -> Role:
        """Return a new instance of the behaviour.

        Raises:
            ConfigError: the role finds its options wrong together.
        """
        if self.shape is not None:
            return HandlerRole(self.spec, self.options, self.shape)
        try:
            role = self.role(self.spec, self.options)
            role.equip(self.tools)
        except AixgoError:
            raise
        except Exception as error:
            what = f"agent {self.spec.name!r}: its role {self.spec.role!r} cannot be built"
            raise broken(what, error, "mend the class") from error
        return role


def declare(
    given: Mapping[str, Any],
    *,
    handler: Handler | None = None,
    behaviour: type[Role] | None = None,
    tools: DeclaredTools | None = None,
    directory: str | os.PathLike[str] | None = None,
) -> tuple[Declaration | None, list[Problem]]:
    """Return a checked declaration, or None with all that is wrong with it.

    Args:
        given: every key of one flat declaration: those of `AgentSpec` and the role's own.
        handler: the behaviour, when it is an object already and not a `handler: module:name`.
        behaviour: the same when it is a class.
        tools: those that the agent may name; the ones of a document.
        directory: where modules of handlers are looked for first.
    """
    problems: list[Problem] = []
    declared = DeclaredTools(directory) if tools is None else tools
    role = behaviour
    if role is None or handler is not None or "handler" in given:
        role, handler = _behaviour(given, handler, directory, problems)
    if role is HandlerRole:
        given = {**given, "role": CUSTOM}
    common = frozenset(AgentSpec.model_fields)
    _load_errors_of(given)
    spec = _validated(AgentSpec, common, given, problems, directory)
    if role is None:
        return None, problems
    model = _model(role, given, problems)
    if model is None:
        return None, problems
    own = frozenset(model.model_fields)
    box, given = _toolbox(role, own, given, declared, problems)
    if role.takes_tools:
        common |= TOOL_KEYS
    if model.model_config.get("extra") == "forbid":
        problems += [UnknownKey(key, common | own) for key in given if key not in common | own]
    options = _validated(model, own - common, given, problems, directory)
    shape = None
    try:
        if handler is not None:
            shape = HandlerShape(_name(given), handler)
    except ConfigError as error:
        loc = ("handler",) if "handler" in given else ()
        problems.append(Wrong(loc, _without_name(str(error), _name(given)), error))
    hooks = NO_HOOKS if spec is None else _hooks(spec, problems)
    if problems or spec is None or options is None or box is None:
        return None, problems
    made = Declaration(spec=spec, options=options, role=role, tools=box, hooks=hooks, shape=shape)
    return made, problems


def _model(
    role: type[Role], given: Mapping[str, Any], problems: list[Problem]
) -> type[Options] | None:
    """Return the model of the role's own keys; None when the class has none that can be used."""
    try:
        model = role.options_for(given)
    except Exception as error:  # noqa: BLE001 - it is the user's own code
        wrong = broken(f"the keys of the role {given.get('role')!r}", error, "mend the class")
        problems.append(Wrong(("role",), str(wrong)))
        return None
    if isinstance(model, type) and issubclass(model, Options):
        return model
    problems.append(
        Wrong(
            ("role",),
            f"the options of the role {given.get('role')!r} are {model!r:.80}, which is not a "
            "subclass of aixgo.config.agents.Options; mend `options_model`",
        )
    )
    return None


def _hooks(spec: AgentSpec, problems: list[Problem]) -> Hooks:
    try:
        return Hooks.of(spec.hooks)
    except WrongHook as error:
        problems.append(Wrong(("hooks", *error.loc), str(error)))
        return NO_HOOKS


def _behaviour(
    given: Mapping[str, Any],
    handler: Handler | None,
    directory: str | os.PathLike[str] | None,
    problems: list[Problem],
) -> tuple[type[Role] | None, Handler | None]:
    """Return the role's class and the handler; None for the class when it is not known."""
    role, written = given.get("role"), given.get("handler")
    if role is not None and not isinstance(role, str):
        return None, None  # AgentSpec says what is wrong
    if handler is not None or isinstance(written, str):
        if role not in (None, "", CUSTOM):
            problems.append(
                Wrong(("role",), f"has a handler and the role {role!r}; use one of the two")
            )
            return None, None
        if handler is None:
            try:
                handler = imported(str(written), directory)
            except ConfigError as error:
                problems.append(Wrong(("handler",), str(error)))
        return HandlerRole, handler
    if "handler" in given:
        return None, None
    if not role:
        problems.append(
            Wrong(
                (),
                f"needs a role (installed: {', '.join(known_roles()) or 'none'}) or a handler of "
                "its own (`handler: module:function`)",
            )
        )
    elif role == CUSTOM:
        problems.append(
            Wrong(
                ("role",),
                "the role 'custom' has no handler; add one with `handler: module:function`, or in "
                "Python as Agent(name, handler)",
            )
        )
    else:
        try:
            return find_role(role, directory), None
        except ConfigError as error:
            problems.append(Wrong(("role",), str(error), error))
    return None, None


def _validated(
    model: type[Any],
    keys: Collection[str],
    given: Mapping[str, Any],
    problems: list[Problem],
    directory: str | os.PathLike[str] | None,
) -> Any:
    values = {key: given[key] for key in given if key in keys}
    try:
        return model.model_validate(values, context={"directory": directory})
    except ValidationError as error:
        problems.append(Invalid(error, model))
        return None


def _toolbox(
    role: type[Role],
    own: Collection[str],
    given: Mapping[str, Any],
    declared: DeclaredTools,
    problems: list[Problem],
) -> tuple[Toolbox | None, Mapping[str, Any]]:
    """Return the agent's tools, None when they are wrong, and the declaration without them."""
    keys = [key for key in given if key in TOOL_KEYS and key not in own]
    rest = {key: value for key, value in given.items() if key not in keys}
    if not role.takes_tools:
        problems += [
            Wrong(
                (key,),
                f"an agent of role {given.get('role')!r} takes no tools; leave `{key}` out, or put "
                "them on an agent with a handler, or on one whose role takes tools, such as react",
            )
            for key in keys
        ]
        return NO_TOOLS, rest
    if not keys:
        return NO_TOOLS, rest
    reader = ToolsOfAgent(
        _name(given), declared, problems, for_models=not issubclass(role, HandlerRole)
    )
    return reader.read(given), rest


def _load_errors_of(given: Mapping[str, Any]) -> None:
    """Load the installed roles when `retry_on` names an error class that may be one of theirs."""
    retry = given.get("retry")
    names = retry.get("retry_on") if isinstance(retry, Mapping) else None
    if isinstance(names, list | tuple) and {str(name) for name in names} - by_code().keys():
        for role in known_roles():
            try:
                find_role(role)
            except ConfigError:  # a broken package is a finding of the agents that use it
                continue


def _name(given: Mapping[str, Any]) -> str:
    name = given.get("name")
    return name if isinstance(name, str) else "?"


def _without_name(text: str, name: str) -> str:
    return text.removeprefix(f"agent {name!r}: ")
