"""The parts of the JSON schema of documents that say what tools and servers there can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from aixgo.config.tools import ServerUse
from aixgo.documents.summaries import summary
from aixgo.tools.kinds import KINDS, SERVERS, ToolKind, find_kind

TOOL, SERVER, INLINE_SERVER = "Tool", "McpServer", "OwnMcpServer"


def installed_kinds() -> dict[str, type[ToolKind]]:
    """Return every kind by name, that of the servers too."""
    return {name: find_kind(name) for name in KINDS}


def models(kinds: Mapping[str, type[ToolKind]]) -> list[type[BaseModel]]:
    """Return the models of the kinds' keys, and that of an agent's use of a server."""
    return [*(kind.options_model for kind in kinds.values()), ServerUse]


def definitions(
    kinds: Mapping[str, type[ToolKind]], own: Mapping[type[BaseModel], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the definitions of a tool of each kind, and of a server.

    Args:
        own: the schema of each model.
    """
    found: dict[str, dict[str, Any]] = {}
    tools = []
    for name, kind in kinds.items():
        if name != SERVERS:
            title = f"{name.capitalize()}{TOOL}"
            tools.append({"$ref": f"#/$defs/{title}"})
            found[title] = _tool(name, kind, own[kind.options_model])
    found[TOOL] = {"description": "A tool; `type` says its kind.", "oneOf": tools}
    if SERVERS in kinds:
        server = _server(kinds[SERVERS], own[kinds[SERVERS].options_model])
        found[SERVER] = server
        allow = own[ServerUse]["properties"]["allow"]
        found[INLINE_SERVER] = {
            **server,
            "properties": {**server["properties"], "allow": allow},
            "required": ["name", *server["required"]],
        }
    return found


def sections(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a document that declare tools and servers by name."""
    tools = {
        "description": "Tools that agents name, by name.",
        "type": "object",
        "additionalProperties": {"$ref": f"#/$defs/{TOOL}"},
    }
    servers = {
        "description": "MCP servers that agents name, by name.",
        "type": "object",
        "additionalProperties": {"$ref": f"#/$defs/{SERVER}"},
    }
    return {"tools": tools} | ({"mcp_servers": servers} if SERVER in found else {})


def of_agents(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of agents whose role takes tools."""
    tools = {
        "description": "What it can do: names of the section `tools`, or tools of its own.",
        "type": "array",
        "items": {"anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{TOOL}"}]},
    }
    servers = {
        "description": "MCP servers whose tools it can use: names of the section `mcp_servers`, "
        "with `allow` to take some of the tools only, or servers of its own.",
        "type": "array",
        "items": {
            "anyOf": [
                {"type": "string"},
                {"$ref": "#/$defs/ServerUse"},
                {"$ref": f"#/$defs/{INLINE_SERVER}"},
            ]
        },
    }
    return {"tools": tools} | ({"mcp_servers": servers} if SERVER in found else {})


def _tool(name: str, kind: type[ToolKind], options: dict[str, Any]) -> dict[str, Any]:
    about = summary(kind.options_model)
    needed = [key for key in options.get("required", ()) if key not in ("type", "name")]
    return {
        "title": f"Tool of kind {name}",
        "description": about,
        "type": "object",
        "additionalProperties": False,
        "required": ["type", *needed],
        "properties": {**options["properties"], "type": {"const": name, "description": about}},
    }


def _server(kind: type[ToolKind], options: dict[str, Any]) -> dict[str, Any]:
    properties = {key: value for key, value in options["properties"].items() if key != "type"}
    return {
        "title": "MCP server",
        "description": summary(kind.options_model),
        "type": "object",
        "additionalProperties": False,
        "required": [key for key in options.get("required", ()) if key not in ("type", "name")],
        "properties": properties,
    }
