"""Reads a document: header, agents, orchestrations, then what must fit together."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from aixgo.agents.agent import CUSTOM, Agent
from aixgo.agents.role import Role, find_role, known_roles
from aixgo.config.agents import AgentSpec
from aixgo.config.suggest import did_you_mean
from aixgo.documents.document import ORCHESTRATOR, VERSION, Document, Header
from aixgo.documents.findings import Findings, shown
from aixgo.documents.source import Loc, Tree, parse, read_document
from aixgo.errors import ConfigError
from aixgo.models.bus import GATEWAY

SECTIONS = (*Header.model_fields, "agents", "orchestration")
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
    return parse_document(read_document(path), os.fspath(path), environment)


def parse_document(
    data: bytes, source: str = "document", environment: Mapping[str, str] | None = None
) -> Document:
    """Return the document in a text; errors as `load_document`."""
    tree = parse(data, source, environment)
    findings = Findings(tree)
    if not _is_ours(tree, findings):
        findings.finish()
    header = _header(tree, findings)
    reader = _Agents(tree, findings)
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
        agents=tuple(agents),
        orchestrations=tuple(reader.orchestrations),
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

    def __init__(self, tree: Tree, findings: Findings) -> None:
        self._tree, self._findings = tree, findings
        self._places: dict[str, Loc] = {}
        self.orchestrations: list[str] = []

    def read(self) -> list[Agent]:
        """Return the declared agents; what is wrong is among the findings."""
        found: list[tuple[Loc, Agent]] = []
        for loc, given in self._written():
            agent = self._agent(loc, given)
            if agent is not None:
                found.append((loc, agent))
        for loc, agent in found:
            self._check_edges(loc, agent)
        return [agent for _, agent in found]

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
                if "role" in given:
                    findings.add_unknown_key((*loc, "role"), ())
                name = given.get("name", ORCHESTRATOR)
                self.orchestrations.append(str(name))
                yield loc, {**given, "name": name, "role": ORCHESTRATOR}
            elif "orchestration" in data:
                findings.add(loc, "an orchestration is a mapping: `{name: …, pattern: …}`")

    def _agent(self, loc: Loc, given: dict[str, Any]) -> Agent | None:
        """Return the declared agent, or None with the reasons among the findings."""
        self._check_name(loc, given)
        role_class = self._role(loc, given)
        own = set() if role_class is None else set(role_class.options_model.model_fields)
        common = set(AgentSpec.model_fields)
        if role_class is not None:
            hidden = {"role"} if loc[0] == "orchestration" else set()
            for key in given:
                if key not in common and key not in own:
                    self._findings.add_unknown_key((*loc, key), (common | own) - hidden)
        spec = self._validated(AgentSpec, common, loc, given)
        if role_class is None:
            return None
        options = self._validated(role_class.options_model, own, loc, given)
        if spec is None or options is None:
            return None
        return Agent.declared(spec, options, role_class)

    def _validated(self, model: Any, keys: set[str], loc: Loc, given: dict[str, Any]) -> Any:
        try:
            return model.model_validate({key: given[key] for key in given if key in keys})
        except ValidationError as error:
            self._findings.add_validation(error, model, loc)
            return None

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

    def _role(self, loc: Loc, given: dict[str, Any]) -> type[Role] | None:
        name, here = given.get("role"), (*loc, "role")
        if name is None:
            self._findings.add(loc, f"needs a role{_installed('')}")
        elif not isinstance(name, str):
            pass  # AgentSpec says what is wrong
        elif name == CUSTOM:
            self._findings.add(
                here,
                "an agent of role 'custom' has a handler, which only Python can give: "
                "Agent(name, handler)",
            )
        elif name not in known_roles():
            self._findings.add(
                here, f"no installed package offers the role {name[:60]!r}{_installed(name)}"
            )
        else:
            try:
                return find_role(name)
            except ConfigError as error:
                self._findings.add_error(here, error)
        return None

    # -- what must fit together ----------------------------------------------------------------

    def _check_edges(self, loc: Loc, agent: Agent) -> None:
        """Report names of agents that are not declared."""
        for index, source in enumerate(agent.spec.inputs):
            self._check_named((*loc, "inputs", index, "source"), source.source)
        for index, output in enumerate(agent.spec.outputs):
            self._check_named((*loc, "outputs", index, "target"), output.target)
        try:
            called = agent.build().calls()
        except ConfigError as error:
            self._findings.add_error(loc, error)
            return
        for name in called:
            self._check_named(self._place_of(loc, name), name)

    def _check_named(self, loc: Loc, name: str) -> None:
        if name not in self._places:
            self._findings.add(loc, f"no agent is named {name!r}{did_you_mean(name, self._places)}")

    def _place_of(self, loc: Loc, name: str) -> Loc:
        """Return where a role's options name another agent; the agent's own place when hidden."""
        for place in self._tree.values:
            inside = place[: len(loc)] == loc and len(place) > len(loc)
            if inside and place[len(loc)] != "name" and self._tree.at(place) == name:
                return place
        return loc


def _installed(role: str) -> str:
    known = known_roles()
    near = difflib.get_close_matches(role[:100], known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"; {hint}installed: {', '.join(known) or 'none'}"
