"""Reads a document: header, agents, orchestrations, then what must fit together."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aixgo.agents.agent import Agent
from aixgo.agents.declaration import Declaration, declare
from aixgo.agents.system import connect, misfits
from aixgo.config.problems import Invalid, Problem, UnknownKey, Wrong
from aixgo.documents.document import ORCHESTRATOR, VERSION, Document, Header
from aixgo.documents.findings import Findings, shown
from aixgo.documents.source import Loc, Tree, parse, read_document
from aixgo.models.bus import GATEWAY
from aixgo.tools.declared import DeclaredTools

SECTIONS = (*Header.model_fields, "tools", "mcp_servers", "agents", "orchestration")
"""Keys of a document."""


def load_document(
    path: str | os.PathLike[str], environment: Mapping[str, str] | None = None
) -> Document:
    """Return the document in a file.

    Args:
        environment: of `${VAR}`; the process's own without it.

    Raises:
        ConfigError: the file cannot be read.
        InvalidDocument: something is wrong; carries every finding with its line and column.
    """
    data, directory = read_document(path), Path(path).parent
    return parse_document(data, os.fspath(path), environment, directory=directory)


def parse_document(
    data: bytes,
    source: str = "document",
    environment: Mapping[str, str] | None = None,
    *,
    directory: str | os.PathLike[str] | None = None,
) -> Document:
    """Return the document in a text; errors as `load_document`.

    Args:
        directory: where modules of handlers are looked for first; the directory of a file.
    """
    tree = parse(data, source, environment)
    findings = Findings(tree)
    if not _is_ours(tree, findings):
        findings.finish()
    header = _header(tree, findings)
    tools = DeclaredTools(directory)
    for problem in tools.read(tree.data.get("tools"), tree.data.get("mcp_servers")):
        _report(findings, problem)
    reader = _Agents(tree, findings, directory, tools)
    agents = reader.read()
    findings.finish()
    assert header is not None
    return Document(
        source=source,
        name=header.name,
        namespace=header.namespace,
        deployment=header.deployment,
        models=header.models,
        retention=header.retention,
        sessions=header.sessions,
        agents=tuple(agents),
        tools=tools,
        orchestrations=tuple(reader.orchestrations),
        tree=tree,
        places=reader.places,
    )


def _is_ours(tree: Tree, findings: Findings) -> bool:
    """Report a document of another kind, for which every other finding would be noise."""
    data = tree.data
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else f"the value {shown(data)}"
        findings.add((), f"a document is a mapping that begins with `version: 2`, not {kind}")
        return False
    if "apiVersion" in data or data.get("kind") == "AgentCluster":
        findings.add(
            ("apiVersion" if "apiVersion" in data else "kind",),
            "AgentCluster documents are not supported by this version of Aixgo yet; write the "
            "agents in a document with `version: 2`",
        )
        return False
    version = data.get("version")
    if "supervisor" in data or version in (1, "1"):
        findings.add(
            ("supervisor" if "supervisor" in data else "version",),
            "documents of version 1 (`supervisor:`) are not supported by this version of Aixgo "
            "yet; write `version: 2` with `agents:` and `orchestration:`",
        )
        return False
    if "version" in data and version not in (VERSION, str(VERSION)):
        findings.add(
            ("version",),
            f"version {shown(version)} is not known; this Aixgo reads version {VERSION}",
        )
        return False
    return True


def _header(tree: Tree, findings: Findings) -> Header | None:
    for key in tree.data:
        if key not in SECTIONS:
            findings.add_unknown_key((key,), SECTIONS)
    given = {key: value for key, value in tree.data.items() if key in Header.model_fields}
    try:
        return Header.model_validate(given)
    except ValidationError as error:
        findings.add_validation(error, Header)
        return None


class _Agents:
    """Reads the agents of one document and checks them against each other."""

    def __init__(
        self,
        tree: Tree,
        findings: Findings,
        directory: str | os.PathLike[str] | None,
        tools: DeclaredTools,
    ) -> None:
        self._tree, self._findings, self._directory = tree, findings, directory
        self._tools = tools
        self._places: dict[str, Loc] = {}
        self.orchestrations: list[str] = []
        self.places: dict[str, Loc] = {}

    def read(self) -> list[Agent]:
        """Return the declared agents; what is wrong is among the findings."""
        found: list[tuple[Loc, Declaration]] = []
        for loc, given in self._written():
            declaration = self._declaration(loc, given)
            if declaration is not None:
                found.append((loc, declaration))
        self.places = {declaration.spec.name: loc for loc, declaration in found}
        connect([declaration for _, declaration in found])
        for declaration, wrong in misfits([one for _, one in found], self._places):
            loc = self.places[declaration.spec.name]
            at = self._place_of(loc, wrong.named) if wrong.named else (*loc, *wrong.loc)
            self._findings.add(at, wrong.text)
        return [Agent.declared(declaration) for _, declaration in found]

    def _written(self) -> Iterator[tuple[Loc, dict[str, Any]]]:
        """Yield the place and the text of each declaration that is a mapping."""
        data, findings = self._tree.data, self._findings
        agents, orchestration = data.get("agents"), data.get("orchestration")
        if not isinstance(agents, list) or not agents:
            findings.add(
                ("agents",), "needs a list with at least one agent: `- {name: …, role: …}`"
            )
            agents = []
        for index, given in enumerate(agents):
            if isinstance(given, dict):
                yield ("agents", index), given
            else:
                findings.add(("agents", index), "an agent is a mapping: `{name: …, role: …}`")
        several = isinstance(orchestration, list)
        for index, given in enumerate(orchestration if several else [orchestration]):
            loc: Loc = ("orchestration", index) if several else ("orchestration",)
            if isinstance(given, dict):
                for key in ("role", "handler"):
                    if key in given:
                        findings.add_unknown_key((*loc, key), ())
                name = given.get("name", ORCHESTRATOR)
                self.orchestrations.append(str(name))
                written = {key: value for key, value in given.items() if key != "handler"}
                yield loc, {**written, "name": name, "role": ORCHESTRATOR}
            elif "orchestration" in data:
                findings.add(loc, "an orchestration is a mapping: `{name: …, pattern: …}`")

    def _declaration(self, loc: Loc, given: dict[str, Any]) -> Declaration | None:
        """Return what is declared, or None with the reasons among the findings."""
        self._check_name(loc, given)
        declaration, problems = declare(given, tools=self._tools, directory=self._directory)
        hidden = {"role", "handler"} if loc[0] == "orchestration" else set()
        for problem in problems:
            _report(self._findings, problem, loc, hidden)
        return declaration

    def _place_of(self, loc: Loc, name: str) -> Loc:
        """Return where an agent's declaration names another one, or one of the tools does."""
        place = place_of(self._tree, loc, name)
        if place != loc:
            return place
        in_tools = place_of(self._tree, ("tools",), name)
        return loc if in_tools == ("tools",) else in_tools

    def _check_name(self, loc: Loc, given: dict[str, Any]) -> None:
        name = given.get("name")
        if not isinstance(name, str):
            return
        here = (*loc, "name")
        if name in self._places:
            first = self._tree.values[self._places[name]].line
            self._findings.add(
                here,
                f"another agent is named {name[:60]!r} already (line {first}); names are unique",
            )
        else:
            self._places[name] = here if here in self._tree.values else loc
        if name == GATEWAY and given.get("role") != GATEWAY:
            self._findings.add(
                here, f"the name {GATEWAY!r} belongs to the model gateway; choose another"
            )


def _report(
    findings: Findings, problem: Problem, loc: Loc = (), hidden: Collection[str] = ()
) -> None:
    """Report what is wrong with the declaration at `loc`.

    Args:
        hidden: keys that the author of this declaration cannot write.
    """
    match problem:
        case Wrong():
            findings.add((*loc, *problem.loc), problem.text)
        case UnknownKey():
            findings.add_unknown_key((*loc, problem.key), problem.known - set(hidden))
        case Invalid():
            findings.add_validation(problem.error, problem.model, (*loc, *problem.loc))


def place_of(tree: Tree, loc: Loc, name: str) -> Loc:
    """Return where the declaration at `loc` names another agent; `loc` when that is hidden."""
    for place in tree.values:
        inside = place[: len(loc)] == loc and len(place) > len(loc)
        if inside and place[len(loc)] != "name" and tree.at(place) == name:
            return place
    return loc
