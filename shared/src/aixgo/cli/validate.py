"""`aixgo validate`: is a document in order; or the JSON schema of documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from aixgo.cli._failures import WRONG
from aixgo.cli._options import Json, document_of
from aixgo.cli._terminal import write, write_json
from aixgo.documents import Document, document_schema
from aixgo.documents.review import Review, review
from aixgo.errors import ConfigError, Finding, InvalidDocument

MaybeFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The document (YAML or JSON).", show_default=False),
]
Schema = Annotated[
    bool, typer.Option("--schema", help="Write the JSON schema of documents, for editors.")
]


def command(file: MaybeFile = None, json: Json = False, schema: Schema = False) -> None:
    """Check a document and say everything that is wrong with it, with line and column."""
    if schema:
        write(schema_text(), end="")
        return
    if file is None:
        raise ConfigError("name the FILE to check, or give --schema")
    try:
        document = document_of(file)
        found = review(document)
        if found.errors:
            raise InvalidDocument(str(file), found.errors)
    except ConfigError as error:
        if not json:
            raise
        write_json({"valid": False, "file": str(file), "findings": _findings(error)})
        raise typer.Exit(WRONG) from None
    if json:
        write_json({"valid": True, "file": str(file), **_shape(document, found)})
        return
    agents = len(document.agents)
    write(f"{file}: in order; {document.name!r} with {agents} agent{'s' if agents != 1 else ''}")
    for agent in document.agents:
        uses = ", ".join([*agent.tools.always, *(f"{name}:*" for name in agent.tools.sources)])
        write(f"  {agent.name} ({agent.spec.role})" + (f" with tools: {uses}" if uses else ""))
    for one in found.warnings:
        write(f"warning: {file}:{one.line}:{one.column}: {one.path}: {one.message}")


def schema_text() -> str:
    """Return the JSON schema of documents as it is committed."""
    import json

    return json.dumps(document_schema(), indent=2, ensure_ascii=False) + "\n"


def _findings(error: ConfigError) -> list[dict[str, Any]]:
    if not isinstance(error, InvalidDocument):
        return [{"path": "", "line": 1, "column": 1, "message": str(error)}]
    return [_facts(one) for one in error.findings]


def _facts(found: Finding) -> dict[str, Any]:
    return {
        "path": found.path,
        "line": found.line,
        "column": found.column,
        "message": found.message,
    }


def _shape(document: Document, found: Review) -> dict[str, Any]:
    return {
        "name": document.name,
        "namespace": document.namespace,
        "agents": [
            {
                "name": agent.name,
                "role": agent.spec.role,
                "tools": [*agent.tools.always],
                "mcp_servers": [*agent.tools.sources],
            }
            for agent in document.agents
        ],
        "findings": [],
        "warnings": [_facts(one) for one in found.warnings],
    }
