"""Documents: what they declare, and every mistake with its place, all at once."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aixgo import Agent
from aixgo.agents.role import known_roles
from aixgo.documents import Document, document_schema, load_document, parse_document
from aixgo.errors import ConfigError, InvalidDocument

FRONT_DESK = """\
version: 2
name: support
models: {default: local/smollm2}
agents:
  - {name: triage, role: classifier, categories: [{name: billing}, {name: technical}]}
  - {name: billing, role: react, prompt: Money., retry: {max_attempts: 5}, timeout: 1m30s}
  - {name: technical, role: react, prompt: Machines.}
orchestration:
  name: front-desk
  pattern: router
  classifier: triage
  routes: {billing: billing, technical: technical}
  fallback: technical
  limits: {timeout: 2m, max_tokens: 20000}
"""


def document(text: str, environment: dict[str, str] | None = None) -> Document:
    return parse_document(text.encode(), "f.yaml", environment or {})


def refusal(text: str, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        document(text, environment)
    return str(caught.value)


# -- what is declared ----------------------------------------------------------------------------


def test_a_document_declares_agents_and_its_orchestration_is_one_of_them() -> None:
    found = document(FRONT_DESK)

    assert (found.name, found.namespace, found.deployment.broker) == (
        "support",
        "default",
        "memory",
    )
    assert found.models.default == "local/smollm2"
    assert found.names == ["triage", "billing", "technical", "front-desk"]
    assert found.orchestrations == ("front-desk",)
    desk = found.agents[-1]
    assert desk.spec.role == "orchestrator"
    assert desk.spec.limits.timeout == 120.0
    assert desk.build().calls() == ("triage", "billing", "technical")


def test_yaml_and_python_build_the_same_declaration() -> None:
    written = document(FRONT_DESK).agents[1]
    built = Agent(
        "billing", role="react", prompt="Money.", retry={"max_attempts": 5}, timeout="1m30s"
    )

    assert written.spec == built.spec
    assert written.options == built.options


def test_json_declares_the_same_as_yaml(tmp_path: Path) -> None:
    file = tmp_path / "desk.json"
    file.write_text(json.dumps(yaml.safe_load(FRONT_DESK), indent=1))

    assert [agent.spec for agent in load_document(file).agents] == [
        agent.spec for agent in document(FRONT_DESK).agents
    ]


def test_several_orchestrations_are_a_list_and_may_call_each_other() -> None:
    found = document(
        "version: 2\nagents: [{name: a, role: react}]\norchestration:\n"
        "  - {name: inner, pattern: sequential, agents: [a]}\n"
        "  - {name: outer, pattern: sequential, agents: [a, inner]}\n"
    )

    assert found.orchestrations == ("inner", "outer")


def test_variables_reach_numbers_durations_switches_and_keys() -> None:
    (agent,) = document(
        "version: 2\nagents: [{name: a, role: react, max_tokens: '${N}', timeout: '${T:-45}', "
        "stream: '${S}', api_key: '${KEY}'}]",
        {"N": "60", "S": "false", "KEY": "0123"},
    ).agents

    assert (agent.spec.max_tokens, agent.spec.timeout) == (60, 45.0)
    assert agent.options.stream is False  # type: ignore[attr-defined]  # of the react role
    assert agent.spec.api_key is not None
    assert agent.spec.api_key.get_secret_value() == "0123"


# -- who takes the message -----------------------------------------------------------------------


def test_the_orchestration_takes_messages_else_the_only_agent_that_answers() -> None:
    assert document(FRONT_DESK).entry() == "front-desk"
    assert document(FRONT_DESK).entry("triage") == "triage"
    assert document("version: 2\nagents: [{name: a, role: react}]").entry() == "a"


def test_when_several_could_be_meant_they_are_named() -> None:
    two = document("version: 2\nagents: [{name: a, role: react}, {name: b, role: react}]")

    with pytest.raises(ConfigError, match=r"2 agents .*: a, b; choose one with --agent"):
        two.entry()
    with pytest.raises(ConfigError, match=r"f\.yaml has no agent 'aa'; did you mean 'a'\?"):
        two.entry("aa")


def test_a_document_of_producers_takes_no_message() -> None:
    ticks = document("version: 2\nagents: [{name: a, role: producer, template: x}]")

    with pytest.raises(ConfigError, match="run it without an input"):
        ticks.entry()


# -- mistakes ------------------------------------------------------------------------------------


def test_all_mistakes_are_reported_together_in_the_order_of_the_document() -> None:
    text = refusal(
        "version: 2\n"
        "models: {default: local/smollm2, timout: 3s}\n"
        "agents:\n"
        "  - {name: triage, role: classifer}\n"
        "  - {name: triage, role: react, tempature: 3}\n"
        "extra: 1\n"
    )

    assert text.splitlines() == [
        "f.yaml:2:34: models.timout: unknown key 'timout'; did you mean 'timeout'?",
        "f.yaml:4:26: agents.0.role: no installed package offers the role 'classifer'; "
        f"did you mean 'classifier'? installed: {', '.join(known_roles())}",
        "f.yaml:5:12: agents.1.name: another agent is named 'triage' already (line 4); "
        "names are unique",
        "f.yaml:5:33: agents.1.tempature: unknown key 'tempature'; did you mean 'temperature'?",
        "f.yaml:6:1: extra: unknown key 'extra'; known: agents, deployment, mcp_servers, "
        "models, name, namespace, orchestration, retention, sessions, tools, version",
    ]


def test_an_invalid_document_carries_its_findings_as_facts() -> None:
    with pytest.raises(InvalidDocument) as caught:
        document("version: 2\nagents: [{name: a, role: react, tempature: 3}]")

    (found,) = caught.value.findings
    assert (found.path, found.line, found.column) == ("agents.0.tempature", 2, 33)
    assert caught.value.code == "invalid_document"


@pytest.mark.parametrize("name", ["a b", "{}", "é", "a.b"])
def test_a_name_that_is_not_one_is_told_what_a_name_is(name: str) -> None:
    text = refusal(f"version: 2\nagents: [{{name: '{name}', role: react}}]")

    assert text == (
        "f.yaml:2:17: agents.0.name: needs 1 to 32 characters of A-Z, a-z, 0-9, '_' and '-', "
        f'such as front-desk (got "{name}")'
    )


def test_more_findings_than_a_screen_holds_are_counted() -> None:
    text = refusal("version: 2\nagents: [{name: a, role: react}]\n" + "".join(
        f"x{n}: 1\n" for n in range(25)
    ))  # fmt: skip

    assert len(text.splitlines()) == InvalidDocument.SHOWN + 1
    assert text.endswith("f.yaml: and 5 more")


@pytest.mark.parametrize(
    ("fields", "at", "finding"),
    [
        ("role: react, timeout: 10 parsecs", "10", "timeout: not a duration: '10 parsecs' (write"),
        ("role: react, temperature: 3", "3", "temperature: must be 2 or less (got 3)"),
        ("role: react, max_tokens: true", "true", "max_tokens: needs a number, not true"),
        ("role: react, retry: {multiplier: true}", "true", "retry.multiplier: needs a number"),
        ("role: react, timeout: true", "true", "timeout: not a duration: True"),
        ("role: react, max_tokens: 0", "0", "max_tokens: must be 1 or more (got 0)"),
        ("role: react, timeout: 0s", "0s", "timeout: 0s is not a time to wait for; give 1ms or"),
        ("role: react, timeout: 1e300", "1e300", "timeout: 1e+300 is not a time"),
        (
            "role: react, timeout: 9999999999d",
            "9999999999d",
            "timeout: 9999999999d is not a",
        ),
        ("role: react, timeout: 1us", "1us", "timeout: 1us is not a time to wait for; give 1ms"),
        ("role: react, max_tokens: many", "many", "max_tokens: needs a whole number, such as 3 (g"),
        ("role: react, concurrency: 1.5", "1.5", "concurrency: needs a whole number, such as 3"),
        ("role: react, temperature: hot", "hot", "temperature: needs a number, such as 0.5 (got"),
        ("role: react, exclusive: perhaps", "perhaps", "exclusive: needs true or false (got"),
        ("role: react, endpoint: shop", "shop", "endpoint: needs an address that begins with http"),
        ("role: react, inputs: 5", "5", "inputs: needs a list, such as [a, b] (got 5)"),
        ("role: react, retry: 5", "5", "retry: needs a mapping, such as {key: value} (got 5)"),
        ("role: react, prompt: [1]", "prompt", "prompt: needs a text, not a list"),
        ("role: react, prompt: 5", "5", "prompt: needs a text; put it in quotes (got 5)"),
        (
            "role: react, retry: {max_attemps: 2}",
            "max_attemps",
            "retry.max_attemps: unknown key 'max_attemps'; did you mean 'max_attempts'?",
        ),
        ("role: react, retry: {retry_on: [slow]}", "retry_on", "retry.retry_on: 'slow' is no"),
        ("role: react, inputs: [{}]", "{}", "inputs.0: needs the key 'source'"),
        ("role: react, inputs: [{source: b}]", "b}", "inputs.0.source: no agent is named 'b'"),
        ("role: react, outputs: [{target: b}]", "b}", "outputs.0.target: no agent is named 'b'"),
        ("role: react, streem: true", "streem", "streem: unknown key 'streem'; did you mean"),
        ("role: custom", "custom", "role: the role 'custom' has no handler; add one with"),
        ("prompt: x", "{name", f"needs a role (installed: {', '.join(known_roles())})"),
        ("handler: shop", "shop", "handler: 'shop' does not name an object in a module; write"),
        ("handler: no_shop:quote", "no_shop", "handler: there is no module 'no_shop' among the"),
        ("handler: 'json:dumbs'", "'json", "handler: 'json:dumbs': the module 'json' has no"),
        ("handler: 'json:dumps'", "'json", "handler: the handler <function dumps"),
        ("handler: 'json:dumps', role: react", "react", "role: has a handler and the role"),
        ("handler: 7", "7", "handler: needs a text; put it in quotes (got 7)"),
        ("role: classifier", "{name", "needs the key 'categories'"),
        (
            "role: classifier, categories: [{name: x}, {name: y}, {name: z, keyword: w}]",
            "keyword",
            "categories.2.keyword: unknown key 'keyword'; did you mean 'keywords'?",
        ),
        (
            "role: orchestrator, pattern: sequential, agents: [b]",
            "b]",
            "agents.0: no agent is named 'b'; known: a",
        ),
        (
            "role: orchestrator, pattern: sequential, agents: [a]",
            "a]",
            "agents.0: calls the agent 'a' itself, which would never end",
        ),
        ("role: orchestrator, pattern: swirl", "swirl", "pattern: must be 'router' or"),
    ],
)
def test_each_mistake_in_an_agent_has_its_place_and_its_fix(
    fields: str, at: str, finding: str
) -> None:
    line = f"  - {{name: a, {fields}}}"
    text = refusal(f"version: 2\nagents:\n{line}\n")

    dot = "" if at == "{name" else "."
    head = f"f.yaml:3:{line.rindex(at) + 1}: agents.0{dot or ': '}"
    assert "\n" not in text
    assert text.startswith(head + finding)


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("[1]", "1:1: a document is a mapping that begins with `version: 2`, not a list"),
        ("hello", '1:1: a document is a mapping that begins with `version: 2`, not the value "h'),
        ("version: 2", "1:1: agents: needs a list with at least one agent"),
        ("version: 2\nagents: []", "2:1: agents: needs a list with at least one agent"),
        ("version: 2\nagents: [a]", "2:10: agents.0: an agent is a mapping"),
        ("version: 3\nagents: []", "1:10: version: version 3 is not known; this Aixgo reads"),
        ("version: 1\nagents: []", "1:10: version: documents of version 1"),
        ("supervisor: {name: s}\nagents: []", "1:1: supervisor: documents of version 1"),
        ("apiVersion: aixgo.dev/v1\nkind: AgentCluster", "1:13: apiVersion: AgentCluster doc"),
        ("agents: [{name: a, role: react}]", "1:1: needs the key 'version'"),
    ],
)
def test_what_is_no_document_of_version_2_is_said_once(text: str, finding: str) -> None:
    lines = refusal(text).splitlines()

    assert len(lines) == 1
    assert lines[0].startswith(f"f.yaml:{finding}")


def test_an_orchestration_that_names_nobody_says_who_is_near() -> None:
    text = refusal(FRONT_DESK.replace("billing: billing,", "billing: biling,"))

    assert text == (
        "f.yaml:12:21: orchestration.routes.billing: no agent is named 'biling'; "
        "did you mean 'billing'?"
    )


def test_orchestrations_in_a_circle_are_found_where_it_closes() -> None:
    text = refusal(
        "version: 2\nagents: [{name: a, role: logger}]\norchestration:\n"
        "  - {name: one, pattern: sequential, agents: [a, two]}\n"
        "  - {name: two, pattern: router, classifier: a, routes: {x: three}}\n"
        "  - {name: three, pattern: sequential, agents: [one]}\n"
    )

    assert text == (
        "f.yaml:4:50: orchestration.0.agents.1: calls itself over others "
        "(one → two → three → one), which would never end; break the circle"
    )


def test_a_feedback_loop_of_events_is_legal() -> None:
    found = document(
        "version: 2\nagents:\n  - {name: a, role: react, inputs: [{source: b}]}\n"
        "  - {name: b, role: react, inputs: [{source: a}]}\n"
    )

    assert found.names == ["a", "b"]


def test_the_name_of_the_model_gateway_is_taken() -> None:
    assert "belongs to the model gateway" in refusal(
        "version: 2\nagents: [{name: llm, role: react}]"
    )


@pytest.mark.parametrize(
    ("deployment", "finding"),
    [
        ("{mode: distributed}", "2:1: deployment: mode distributed needs the address of a NATS"),
        ("{broker: kafka://x}", "2:22: deployment.broker: 'kafka://x' is not a broker; write"),
        ("{mode: cluster}", "2:20: deployment.mode: must be 'local' or 'distributed'"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(deployment: str, finding: str) -> None:
    text = refusal(f"version: 2\ndeployment: {deployment}\nagents: [{{name: a, role: react}}]")

    assert text.startswith(f"f.yaml:{finding}")


def test_a_distributed_deployment_names_its_server() -> None:
    found = document(
        "version: 2\ndeployment: {mode: distributed, broker: 'nats://a:4222,nats://b:4222'}\n"
        "agents: [{name: a, role: react}]"
    )

    assert found.deployment.broker == "nats://a:4222,nats://b:4222"


# -- handlers ------------------------------------------------------------------------------------


def test_a_handler_is_found_beside_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "beside_it.py").write_text(
        "class Shop:\n    @staticmethod\n    async def quote(item: str) -> int:\n        return 3\n"
    )
    file = tmp_path / "agents.yaml"
    file.write_text("version: 2\nagents: [{name: quote, handler: beside_it:Shop.quote}]")
    (agent,) = load_document(file, {}).agents

    assert (agent.spec.role, agent.spec.handler) == ("custom", "beside_it:Shop.quote")
    assert agent.input_schema == {"type": "string"}
    assert agent.output_schema == {"type": "integer"}
    with suppress(KeyError):
        del sys.modules["beside_it"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise RuntimeError('no price list')", "cannot be imported: RuntimeError: no price list"),
        ("import not_there_at_all", "cannot be imported: ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        (
            "class B(BaseException): pass\nraise B('a\\x1b[31m\\nb')",
            "the module 'broken_shop' cannot be imported: B: a\\x1b[31m b; mend the module",
        ),
        ("raise KeyboardInterrupt", "cannot be imported: KeyboardInterrupt; mend"),
        (
            "class Mute(Exception):\n    def __str__(self): raise RuntimeError\nraise Mute",
            "cannot be imported: Mute, whose text raises RuntimeError; mend the module",
        ),
        ("def quote(item): return 3", "is not an async function"),
        ("async def quote(): return 3", "the handler takes `()`; it must take a message"),
        ("async def quote(*a, **k): return 3", "the handler takes `(*a, **k)`; it must take a"),
        ("async def quote(item=1): return 3", "the handler takes `(item=…)`; it must take a"),
        ("async def quote(item, *, x): return 3", "the handler requires 'x' by keyword, and gets"),
        ("class quote:\n    async def __call__(self, item): return 3", "'quote' is a class; name"),
        ("async def quote(item: complex): return 3", "of type <class 'complex'>: "),
        ("async def quote(item: '1/0'): return 3", "annotation of the handler cannot be resolved"),
        ("async def quote(item: 'Missing'): return 3", "an annotation of the handler cannot be"),
        ("quote = 3", "is not an async function"),
        ("async def quotes(item): return 3", "has no 'quote'; did you mean 'quotes'?"),
    ],
)
def test_a_handler_that_cannot_be_used_is_found_at_its_place(
    code: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "broken_shop.py").write_text(code)
    file = tmp_path / "agents.yaml"
    file.write_text("version: 2\nagents:\n  - {name: quote, handler: 'broken_shop:quote'}\n")
    try:
        with pytest.raises(InvalidDocument) as caught:
            load_document(file, {})
    finally:
        sys.modules.pop("broken_shop", None)

    (found,) = caught.value.findings
    assert (found.path, found.line, found.column) == ("agents.0.handler", 3, 28)
    assert words in found.message
    assert found.message.isprintable()


def test_ctrl_c_while_a_module_is_imported_is_not_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "slow_shop.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGINT)\nasync def quote(item): return 3\n"
    )
    file = tmp_path / "agents.yaml"
    file.write_text("version: 2\nagents: [{name: quote, handler: 'slow_shop:quote'}]\n")
    with pytest.raises(KeyboardInterrupt):
        load_document(file, {})


# -- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        "max_tokens: '${SECRET}'",
        "timeout: '${SECRET}'",
        "retry: {retry_on: ['${SECRET}']}",
        "endpoint: '${SECRET}'",
        "api_key: {a: '${SECRET}'}",
        "api_key: [hunter2]",
    ],
)
def test_no_error_shows_what_a_variable_or_a_key_holds(fields: str) -> None:
    text = refusal(
        f"version: 2\nagents: [{{name: a, role: react, {fields}}}]", {"SECRET": "hunter2"}
    )

    assert "hunter2" not in text


def test_no_error_shows_the_password_in_an_address() -> None:
    text = refusal(
        "version: 2\ndeployment: {broker: 'http://me:hunter2@host'}\n"
        "agents: [{name: a, role: react}]"
    )

    assert "hunter2" not in text


# -- schema --------------------------------------------------------------------------------------


def valid(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(document_schema())
    return bool(validator.is_valid(yaml.safe_load(text)))


def test_the_schema_is_in_order_and_takes_what_the_loader_takes() -> None:
    jsonschema.Draft202012Validator.check_schema(document_schema())
    assert valid(FRONT_DESK)
    assert valid(FRONT_DESK.replace("max_attempts: 5", "max_attempts: '${N:-5}'"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 2", "version: 1"),
        ("timeout: 1m30s", "timeout: 10 parsecs"),
        ("role: react", "role: recat"),
        ("prompt: Money.", "promt: Money."),
        ("max_attempts: 5", "max_attempts: 99"),
        ("pattern: router", "pattern: rooter"),
        ("models: {default", "models: {defualt"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(old: str, new: str) -> None:
    assert old in FRONT_DESK
    assert not valid(FRONT_DESK.replace(old, new, 1))
    assert refusal(FRONT_DESK.replace(old, new, 1))


def test_the_schema_describes_every_key_of_an_agent() -> None:
    properties = document_schema()["$defs"]["ReactAgent"]["properties"]

    assert [key for key, field in properties.items() if not field.get("description")] == []


# -- fuzz ----------------------------------------------------------------------------------------

_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
_KEYS = ["name", "role", "model", "retry", "timeout", "inputs", "limits", "categories", "agents"]
_KEYS += ["pattern", "routes", "classifier", "interval", "events", "concurrency", "api_key"]
_AGENT = st.dictionaries(
    st.sampled_from(_KEYS),
    _VALUES | st.sampled_from(["a", "b", "react", "classifier", "orchestrator", "router", "llm"]),
)
_DOCUMENT = st.fixed_dictionaries(
    {"version": st.just(2)},
    optional={
        "name": _VALUES,
        "namespace": _VALUES,
        "models": _VALUES,
        "deployment": _VALUES,
        "agents": st.lists(_AGENT | _VALUES, max_size=4) | _VALUES,
        "orchestration": _AGENT | st.lists(_AGENT, max_size=2) | _VALUES,
    },
)


@given(_DOCUMENT)
def test_any_document_is_read_or_refused_with_a_config_error(value: dict[str, Any]) -> None:
    with suppress(ConfigError):
        parse_document(json.dumps(value).encode(), "f.json", {})
