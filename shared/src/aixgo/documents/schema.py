"""The JSON schema of documents, for editors: the models of the document, and of installed roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from aixgo.agents.declaration import CUSTOM
from aixgo.agents.role import Role, find_role, known_roles
from aixgo.config.agents import AgentSpec
from aixgo.config.tools import ServerUse
from aixgo.documents import tool_schema
from aixgo.documents.document import ORCHESTRATOR, Header
from aixgo.documents.summaries import summary

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""Wherever a number, a switch or a certain text is wanted, a variable may stand."""

_WITH_VARIABLES = ("integer", "number", "boolean", "string")


def document_schema(roles: Mapping[str, type[Role]] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a document with agents of the given roles.

    Args:
        roles: by name; those that are installed, without it.
    """
    if roles is None:
        roles = {name: find_role(name) for name in known_roles()}
    models: list[type[BaseModel]] = [Header, AgentSpec]
    models += [model for role in roles.values() for model in role.options_models()]
    kinds = tool_schema.installed_kinds()
    models += tool_schema.models(kinds)
    models = list(dict.fromkeys(models))
    parts, shared = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Any] = shared.get("$defs", {})
    _describe(definitions, models)
    own = {model: definitions[_name_of(parts[(model, "validation")])] for model in models}
    tools = tool_schema.definitions(kinds, own)
    of_tools = tool_schema.of_agents(tools)
    agents = _custom(own[AgentSpec], of_tools) | _own(own[AgentSpec], of_tools)
    orchestrations: dict[str, Any] = {}
    named: dict[str, Any] = {}
    for name, role in roles.items():
        agents |= (forms := _agents(name, role, own, of_tools if role.takes_tools else {}))
        if name == ORCHESTRATOR:
            orchestrations = {
                f"{title.removesuffix('OrchestratorAgent')}Orchestration": _orchestration(kind)
                for title, kind in forms.items()
            }
    document: dict[str, Any] = {
        "$schema": DIALECT,
        "title": "Aixgo document",
        "description": "A system of agents. Written in YAML or JSON; see docs/reference.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "agents"],
        "properties": {**own[Header]["properties"], **tool_schema.sections(tools)},
    }
    document["properties"]["agents"] = {
        "description": "The agents of the system; the role decides which further keys there are.",
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [_ref(title) for title in agents]},
    }
    named |= agents | orchestrations | tools | {"ServerUse": own[ServerUse]}
    if orchestrations:
        named["Orchestration"] = {"oneOf": [_ref(title) for title in orchestrations]}
        document["properties"]["orchestration"] = {
            "description": "An agent that calls others by a pattern; several are a list.",
            "anyOf": [
                _ref("Orchestration"),
                {"type": "array", "minItems": 1, "items": _ref("Orchestration")},
            ],
        }
    for model in models:
        definitions.pop(_name_of(parts[(model, "validation")]), None)
    document["$defs"] = _used(document, named | definitions)
    schema: dict[str, Any] = _with_variables(document)
    return schema


def _agents(
    name: str, role: type[Role], own: Mapping[Any, dict[str, Any]], of_tools: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return by its title each kind of agent that a role has: one for each model of its keys."""
    about, models = summary(role), role.options_models()
    common = {key: value for key, value in own[AgentSpec]["properties"].items() if key != "handler"}
    kinds = {}
    for model in models:
        options = own[model]
        kind = "" if len(models) == 1 else model.__name__.removesuffix("Options")
        kinds[f"{kind}{name.capitalize()}Agent"] = {
            "title": f"Agent of role {name}" + (f", {kind.lower()}" if kind else ""),
            "description": f"{about} {summary(model)}" if kind else about,
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "role", *options.get("required", ())],
            "properties": {
                **common,
                "role": {"const": name, "description": about},
                **of_tools,
                **options.get("properties", {}),
            },
        }
    return kinds


def _custom(common: dict[str, Any], of_tools: dict[str, Any]) -> dict[str, dict[str, Any]]:
    about = "Behaves as the handler does that it names: an async function in a Python module."
    role = {"const": CUSTOM, "description": "May be left out."}
    return {
        "CustomAgent": {
            "title": "Agent with a handler of its own",
            "description": about,
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "handler"],
            "properties": {**common["properties"], "role": role, **of_tools},
        }
    }


def _own(common: dict[str, Any], of_tools: dict[str, Any]) -> dict[str, dict[str, Any]]:
    about = "Behaves as the class does that its role names: a subclass of `aixgo.Role`."
    properties = {key: value for key, value in common["properties"].items() if key != "handler"}
    role = {
        "type": "string",
        "pattern": r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        "description": "`module:Class`; its options are further keys.",
    }
    return {
        "OwnRoleAgent": {
            "title": "Agent with a role of its own",
            "description": about,
            "type": "object",
            "required": ["name", "role"],
            "properties": {**properties, "role": role, **of_tools},
        }
    }


def _orchestration(kind: dict[str, Any]) -> dict[str, Any]:
    properties = {key: value for key, value in kind["properties"].items() if key != "role"}
    required = [key for key in kind["required"] if key not in ("name", "role")]
    return {**kind, "title": "Orchestration", "required": required, "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _name_of(part: dict[str, Any]) -> str:
    return str(part["$ref"]).rsplit("/", 1)[1]


def _describe(definitions: dict[str, Any], models: Iterable[type[BaseModel]]) -> None:
    """Keep the summary of each model's docstring, and no title that repeats a key."""
    for model in _reached(models):
        definition = definitions.get(model.__name__)
        if definition is None:
            continue
        definition["description"] = summary(model)
        for field in definition.get("properties", {}).values():
            field.pop("title", None)  # pydantic's is the key once more


def _reached(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    """Return the models and all that their fields are made of, each once."""
    found: list[type[BaseModel]] = []
    waiting: list[Any] = list(models)
    while waiting:
        kind = waiting.pop(0)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found.append(kind)
                waiting.extend(field.annotation for field in kind.model_fields.values())
        else:
            waiting.extend(getattr(kind, "__args__", ()))
    return found


def _used(root: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that are referred to, sorted by name."""
    used: set[str] = set()
    waiting: list[Any] = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            name = str(part.get("$ref", "")).rsplit("/", 1)[-1]
            if name in definitions and name not in used:
                used.add(name)
                waiting.append(definitions[name])
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return {name: definitions[name] for name in sorted(used)}


def _with_variables(part: Any) -> Any:
    """Return the schema with `${VAR}` allowed wherever text of any kind is not."""
    if isinstance(part, list):
        return [_with_variables(item) for item in part]
    if not isinstance(part, dict):
        return part
    changed = {key: _with_variables(value) for key, value in part.items()}
    if isinstance(changed.get("anyOf"), list):
        changed["anyOf"] = _flat(changed["anyOf"])
    takes_any_text = changed.get("type") == "string" and not {"pattern", "enum"} & changed.keys()
    if "const" in changed or takes_any_text or changed.get("type") not in _WITH_VARIABLES:
        return changed
    outside = {key: changed.pop(key) for key in ("description", "default") if key in changed}
    return {"anyOf": [changed, _VARIABLE], **outside}


def _flat(parts: list[Any]) -> list[Any]:
    """Return alternatives of alternatives as one list, each once."""
    flat: list[Any] = []
    for part in parts:
        for one in part["anyOf"] if isinstance(part, dict) and part.keys() == {"anyOf"} else [part]:
            if one not in flat:
                flat.append(one)
    return flat
