"""Tools in documents and in Python: what they become, and every mistake with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import msgspec
import pytest
import yaml
from pydantic import Field

from aixgo import Agent, App, tool
from aixgo.config.agents import Options, Retry
from aixgo.config.tools import MAX_RESULT_BYTES
from aixgo.documents import Document, document_schema, parse_document
from aixgo.documents.review import review
from aixgo.errors import ConfigError, InvalidDocument, InvalidPayload, UnknownTool
from aixgo.hosting.permissions import users
from aixgo.tools import AgentTool, AnyTool, Chain, Link, Toolbox, ToolSource
from aixgo.tools.kinds import KINDS, ToolKind, Workshop

MODULE = '''
from aixgo import Context, Message, tool
from pydantic import BaseModel

class Order(BaseModel):
    number: int

@tool(effect="once", timeout="7s", cache=0)
def refund(order: str, cents: int) -> str:
    """Pay an order back."""
    return f"{cents} for {order}"

async def price(order: str) -> int:
    """Look up a price.

    In cents.
    """
    return 1250

def was_refunded(order: str):
    ...

def untyped(order):
    ...

NUMBER = 5

async def desk(message: Message, ctx: Context) -> str:
    return message.text

async def orders(order: Order) -> str:
    return "fine"
'''

HEAD = """\
version: 2
tools:
  refund: {type: python, function: "shop:refund", effect: idempotent}
  price: {type: python, function: "shop:price", effect: read, cache: 1m, timeout: 5s}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(MODULE)
    return tmp_path


class Kb:
    """A source of tools, as an MCP server is one."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def tools(self) -> Mapping[str, AnyTool]:
        return {}


class ServerOptions(Options):
    """An MCP server."""

    name: str
    url: str
    headers: dict[str, int] = Field(default_factory=dict)


class ServerKind(ToolKind):
    options_model = ServerOptions

    @classmethod
    def build(cls, options: ServerOptions, workshop: Workshop) -> ToolSource:
        return Kb(options.name)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS._loaded, "mcp", ServerKind)
    monkeypatch.setitem(KINDS._points, "mcp", [])


def document(directory: Path, text: str) -> Document:
    return parse_document(text.encode(), "f.yaml", {}, directory=directory)


def refusal(directory: Path, text: str) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        document(directory, text)
    return str(caught.value).splitlines()


# -- what is declared --------------------------------------------------------------------------


def test_functions_are_tools_with_their_own_settings_and_those_of_the_document(shop: Path) -> None:
    read = document(
        shop,
        HEAD
        + "agents:\n"
        + '  - {name: a, handler: "shop:desk", tools: [refund, price]}\n'
        + '  - {name: b, handler: "shop:desk", tools: [{type: python, function: "shop:price"}]}\n',
    )
    a, b = (agent.tools for agent in read.agents)
    refund, price = a
    assert (refund.spec.name, refund.spec.effect, refund.spec.timeout) == (
        "refund",
        "idempotent",
        7,
    )
    assert refund.spec.description == "Pay an order back."
    assert {*refund.spec.input_schema["required"]} == {"order", "cents"}
    assert (price.spec.effect, price.spec.cache, price.spec.timeout) == ("read", 60, 5)
    assert price.spec.description == "Look up a price."
    (own,) = b
    assert (own.spec.name, own.spec.effect, own.spec.retry) == ("price", "once", Retry())
    assert own.spec.max_result == refund.spec.max_result == MAX_RESULT_BYTES


def test_agents_that_name_a_tool_share_it(shop: Path, servers: None) -> None:
    read = document(
        shop,
        HEAD
        + "mcp_servers: {kb: {url: 'http://127.0.0.1/mcp'}}\n"
        + "agents:\n"
        + '  - {name: a, handler: "shop:desk", tools: [refund], mcp_servers: [kb]}\n'
        + '  - {name: b, handler: "shop:desk", tools: [refund], mcp_servers:'
        + " [{name: kb, allow: [search]}, {name: own, url: 'http://x'}]}\n",
    )
    a, b = (agent.tools for agent in read.agents)
    assert a.find("refund") is b.find("refund")
    assert a._sources["kb"] is b._sources["kb"]
    assert b._allow == {"kb": ("search",)}
    assert {*b._sources} == {"kb", "own"}


def test_python_takes_objects_and_mappings_alike(servers: None) -> None:
    @tool(effect="read")
    async def look(word: str) -> str:
        return word

    async def handler(text: str) -> str:
        return text

    kb = Kb("kb")
    agent = Agent(
        "a",
        handler,
        tools=[look, {"type": "agent", "agent": "b", "description": "Knows more."}],
        mcp_servers=[kb, {"name": Kb("other"), "allow": ["search"]}],
    )
    assert [one.spec.name for one in agent.tools] == ["look", "b"]
    assert agent.tools._allow == {"other": ("search",)}
    assert agent.declaration.calls() == ("b",)


def test_what_a_model_reads_has_a_longest_value_and_what_a_handler_reads_has_none() -> None:
    @tool(effect="read")
    async def look(word: str) -> str:
        return word

    @tool(effect="read", max_result=5_000)
    async def other(word: str) -> str:
        return word

    react = Agent("a", role="react", tools=[look, other])
    assert [one.spec.max_result for one in react.tools] == [MAX_RESULT_BYTES, 5_000]
    assert [*Agent("b", _echo, tools=[look]).tools] == [look]
    assert look.spec.max_result == 0


# -- what is wrong -----------------------------------------------------------------------------


def test_what_is_wrong_with_declared_tools_is_told_at_once_with_its_place(
    shop: Path, servers: None
) -> None:
    assert refusal(
        shop,
        """\
version: 2
tools:
  refund: {type: pyton, function: "shop:refund"}
  price: {type: python, function: "shop:prise"}
  number: {type: python, function: "shop:NUMBER", name: nummer}
  five: {type: python, function: "shop:NUMBER"}
  slow: {type: python, function: "shop:price", timout: 3s, effect: maybe}
  bad name: {type: python, function: "shop:price"}
  blind: {type: python, function: "shop:untyped"}
  stale: {type: python, function: "shop:price", cache: 5m}
  text: refund
mcp_servers:
  kb: {url: "http://127.0.0.1/mcp", headers: {Authorization: Bearer 12345}, timeout: 3s}
agents:
  - {name: a, handler: "shop:desk", tools: [refund, text], mcp_servers: [kb]}
""",
    ) == [
        "f.yaml:3:18: tools.refund.type: no kind of tool is named 'pyton'; did you mean 'python'?; "
        f"installed: {', '.join(KINDS)}",
        "f.yaml:4:35: tools.price.function: 'shop:prise': the module 'shop' has no 'prise'; did "
        "you mean 'price'?",
        "f.yaml:5:57: tools.number.name: the name is 'number' already; leave `name` out here",
        "f.yaml:6:34: tools.five.function: 'shop:NUMBER' is 5, not a function; name a function, "
        "with `@tool(…)` or without",
        "f.yaml:7:48: tools.slow.timout: unknown key 'timout'; did you mean 'timeout'?",
        "f.yaml:7:68: tools.slow.effect: must be 'read', 'idempotent' or 'once' (got \"maybe\")",
        "f.yaml:8:3: tools.bad name: needs 1 to 100 characters of A-Z, a-z, 0-9, '_', ':' and '-', "
        'such as look_up (got "bad name")',
        "f.yaml:9:3: tools.blind: tool 'blind': the parameter 'order' has no annotation; "
        "add a type, such as `order: str`, so that arguments are checked before anything runs",
        "f.yaml:10:3: tools.stale: tool 'stale' has effect 'once' and a `cache`, which "
        "would leave out an execution that acts; leave `cache` out, or declare effect 'read' if a "
        "second execution does nothing",
        "f.yaml:11:9: tools.text: needs a mapping: `{key: value}`",
        "f.yaml:13:62: mcp_servers.kb.headers.Authorization: needs a whole number, such as 3",
        "f.yaml:13:77: mcp_servers.kb.timeout: unknown key 'timeout'; known: headers, name, url",
    ]


def test_what_is_wrong_with_the_tools_of_agents_is_told_at_once_with_its_place(
    shop: Path, servers: None
) -> None:
    kinds = ", ".join(name for name in KINDS if name != "mcp")
    assert refusal(
        shop,
        HEAD
        + """\
mcp_servers: {kb: {url: "http://127.0.0.1/mcp"}}
agents:
  - name: a
    handler: "shop:desk"
    tools: [refund, pirce, {function: "shop:price"}, {type: python, function: "shop:price"},
            {type: python, name: price, function: "shop:price"}, 7]
    mcp_servers: [bk, kb, {name: kb, allow: []}, {nam: kb}]
  - {name: b, role: logger, tools: [refund], mcp_servers: [kb]}
  - {name: c, handler: "shop:desk", tools: refund, tolls: [refund]}
""",
    ) == [
        "f.yaml:9:21: agents.0.tools.1: no tool is named 'pirce'; did you mean 'price'?",
        f"f.yaml:9:28: agents.0.tools.2: needs `type:` with the kind of tool ({kinds})",
        "f.yaml:10:13: agents.0.tools.4: has two tools named 'price'; take one of them out, or "
        "rename one of them (`name:`, or in Python `@tool(name=…)`)",
        "f.yaml:10:66: agents.0.tools.5: 7 is not a tool; put `@tool(effect=…)` on the function",
        "f.yaml:11:19: agents.0.mcp_servers.0: no MCP server is named 'bk'; known: kb",
        "f.yaml:11:38: agents.0.mcp_servers.2.allow: allows no tool; name some, or leave `allow` "
        "out for all of them",
        "f.yaml:11:50: agents.0.mcp_servers.3: needs the key 'name'",
        "f.yaml:12:29: agents.1.tools: an agent of role 'logger' takes no tools; leave `tools` "
        "out, or put them on an agent with a handler, or on one whose role takes tools, such as "
        "react",
        "f.yaml:12:46: agents.1.mcp_servers: an agent of role 'logger' takes no tools; leave "
        "`mcp_servers` out, or put them on an agent with a handler, or on one whose role takes "
        "tools, such as react",
        "f.yaml:13:44: agents.2.tools: needs a list, such as [a, b]",
        "f.yaml:13:52: agents.2.tolls: unknown key 'tolls'; did you mean 'tools'?",
    ]


def test_a_server_is_named_once_and_a_section_is_a_mapping(shop: Path, servers: None) -> None:
    assert refusal(
        shop,
        """\
version: 2
tools: [refund]
mcp_servers: {kb: {url: "http://127.0.0.1/mcp"}, fs: {type: mcp, url: "http://127.0.0.1/mcp"}}
agents:
  - {name: a, handler: "shop:desk", mcp_servers: [kb, {name: kb, allow: [search]}]}
  - {name: b, handler: "shop:desk", tools: [{type: mcp, name: kb, url: x}]}
""",
    ) == [
        "f.yaml:2:1: tools: needs a mapping: a name for each, and what it is, `{name: {…}}`",
        "f.yaml:3:61: mcp_servers.fs.type: unknown key 'type'; every entry is of kind 'mcp'",
        "f.yaml:5:55: agents.0.mcp_servers.1: names the server 'kb' twice; name it once, with "
        "everything in its `allow`",
        "f.yaml:6:52: agents.1.tools.0.type: the tools of an MCP server are declared in "
        "`mcp_servers`, by server",
    ]


def test_the_same_mistakes_in_python_are_one_error() -> None:
    async def handler(text: str) -> str:
        return text

    with pytest.raises(ConfigError) as caught:
        Agent(
            "a",
            handler,
            tools=[
                "look",
                {"type": "agent", "name": "b", "agent": "b", "effect": "once", "timeout": "soon"},
                {"type": "chain", "name": "c", "steps": ["b", "b"]},
            ],
        )
    assert str(caught.value) == (
        "agent 'a': no tool is named 'look'; declare it in `tools:` of the document; "
        "tools.1.timeout: not a duration: 'soon' (write 30s, 5m, 1h30m or 250ms) (got 'soon'); "
        "tools.1.effect: unknown option 'effect'; known: agent, description, name, parameters, "
        "required, timeout, type"
    )


def test_tools_call_agents_that_there_are_and_not_in_circles(shop: Path) -> None:
    assert refusal(
        shop,
        """\
version: 2
tools:
  ask: {type: agent, agent: bilin}
  again: {type: agent, agent: a}
agents:
  - {name: a, handler: "shop:desk", tools: [ask]}
  - {name: billing, handler: "shop:desk", tools: [again, {type: agent, agent: billing}]}
""",
    ) == [
        "f.yaml:3:29: tools.ask.agent: no agent is named 'bilin'; did you mean 'billing'?",
        "f.yaml:7:79: agents.1.tools.1.agent: calls the agent 'billing' itself, which would never "
        "end; name another agent",
    ]
    with pytest.raises(ConfigError, match="'a': no agent is named 'bilin'"):
        App([Agent("a", handler=_echo, tools=[AgentTool("bilin")])])


def test_a_service_may_call_the_agents_that_its_tools_call() -> None:
    asks: dict[str, Any] = {"role": "react", "model": "local/smollm2"}
    app = App(
        [
            Agent(
                "desk", tools=[Chain("both", [Link(AgentTool("b")), Link(AgentTool("b"))])], **asks
            ),
            Agent("a", role="logger"),
            Agent(
                "b",
                role="classifier",
                model="local/smollm2",
                categories=[{"name": "x"}, {"name": "y"}],
            ),
        ]
    )
    (service,) = (user for user in users(app) if user.name == "react")
    called = {subject.split(".")[3] for subject in service.publish if ".call." in subject}
    assert "b" in called
    assert "a" not in called


async def _echo(text: str) -> str:
    return text


# -- sources at run time -----------------------------------------------------------------------


async def test_an_allowed_tool_that_is_not_there_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @tool(effect="read", name="kb:search")
    async def search(word: str) -> str:
        return word

    class Full(Kb):
        async def tools(self) -> Mapping[str, AnyTool]:
            return {"kb:search": search, "kb:drop": search}

    box = Toolbox("a", [Full("kb")], allow={"kb": ["search", "serch"]})
    for _ in range(2):
        assert [*await box.load()] == ["kb:search"]
    (told,) = caplog.records
    assert told.message == "tools.allowed_unknown"
    assert vars(told)["hint"] == "'kb' has no tool 'serch'; did you mean 'search'?"
    with pytest.raises(UnknownTool, match="'a' has no tool 'kb:drop'"):
        await box.resolve("kb:drop")


# -- tools that nothing uses -------------------------------------------------------------------


def test_tools_and_servers_that_no_agent_uses_are_a_warning(shop: Path, servers: None) -> None:
    read = document(
        shop,
        HEAD
        + "  both: {type: chain, steps: [price, refund]}\n"
        + "mcp_servers: {kb: {url: 'http://127.0.0.1/mcp'}}\n"
        + "agents:\n"
        + '  - {name: a, handler: "shop:desk"}\n',
    )
    assert [f"{one.line}:{one.column} {one.message}" for one in review(read).warnings] == [
        "5:3 no agent uses the tool 'both'; name it in the `tools` of one, or take it out",
        "6:15 no agent uses the server 'kb'; name it in the `mcp_servers` of one, or take it out",
    ]


# -- agents and chains as tools ----------------------------------------------------------------


def test_the_parameters_of_an_agent_are_what_it_takes(shop: Path) -> None:
    read = document(
        shop,
        """\
version: 2
tools:
  own: {type: agent, agent: orders, parameters: {number: {type: integer}, note: {default: x}}}
agents:
  - {name: orders, handler: "shop:orders", description: "Takes orders."}
  - {name: talk, handler: "shop:desk"}
  - name: a
    handler: "shop:desk"
    tools: [own, {type: agent, agent: orders}, {type: agent, agent: talk, description: "Talks."}]
""",
    )
    own, orders, talk = read.agents[2].tools
    assert orders.spec.description == "Takes orders."
    assert orders.spec.input_schema["required"] == ["number"]
    assert talk.spec.description == "Talks."
    assert [*talk.spec.input_schema["properties"]] == ["text"]
    assert own.spec.input_schema["required"] == ["number"]
    assert own.arguments(msgspec.Raw(b'{"number": 1}')) == {"number": 1, "note": "x"}
    with pytest.raises(InvalidPayload, match='number: "1" is not of type'):
        orders.arguments(msgspec.Raw(b'{"number": "1"}'))


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ("[price]", "tools.c.steps: needs entries: 2 or more"),
        ("[price, later]", "tools.c: no tool is named 'later'"),
        ("[price, {tool: refund, arguments: {order: '$.[['}}]", "'$.[[' is not a JSON path"),
        ("[{tool: price, arguments: {order: x}}, price]", "declare the `parameters` of the chain"),
        ("['kb:search', price]", "whose parameters are known at run time only"),
    ],
)
def test_a_chain_that_cannot_work_is_refused(shop: Path, steps: str, text: str) -> None:
    lines = refusal(
        shop,
        HEAD
        + f"  c: {{type: chain, steps: {steps}}}\n"
        + '  later: {type: python, function: "shop:price"}\n'
        + 'agents: [{name: a, handler: "shop:desk", tools: [c]}]\n',
    )
    assert len(lines) == 1
    assert text in lines[0]


def test_a_chain_has_the_strongest_effect_and_the_agents_of_its_steps() -> None:
    @tool(effect="read")
    async def look(word: str) -> str:
        return word

    chain = Chain("c", [Link(look), Link(AgentTool("b")), Link(look)])
    assert chain.spec.effect == "once"
    assert chain.agents == ("b",)
    assert chain.spec.input_schema == look.spec.input_schema
    assert chain.spec.description == "look → b → look"


# -- the page ----------------------------------------------------------------------------------


def test_the_document_of_the_page_is_in_order(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/tools.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").write_text("")
    functions = "".join(
        f"def {name}(order: str, cents: int = 0) -> int:\n    return 1\n"
        for name in ("price", "refund", "total", "hours")
    )
    for module in ("tools", "sums"):
        (tmp_path / "shop" / f"{module}.py").write_text(functions)
    (tmp_path / "shop/agents.py").write_text(
        "async def billing(text: str) -> str:\n    return ''\n"
    )
    read = document(tmp_path, text)
    desk = read.agents[1].tools
    assert [one.spec.name for one in desk] == ["price", "pay_back", "total", "ask_billing", "hours"]
    assert review(read).warnings == ()


# -- the JSON schema ---------------------------------------------------------------------------


def test_the_schema_takes_what_is_read_and_refuses_what_is_not(shop: Path, servers: None) -> None:
    check = jsonschema.Draft202012Validator(document_schema())
    text = (
        HEAD
        + "  ask: {type: agent, agent: b}\n"
        + "  both: {type: chain, steps: [price, {tool: refund, arguments: {order: $.result}}]}\n"
        + "mcp_servers: {kb: {url: 'http://127.0.0.1/mcp'}}\n"
        + "agents:\n"
        + '  - {name: a, handler: "shop:desk", tools: [ask, {type: chain, name: x, steps: [price,'
        + " price]}], mcp_servers: [kb, {name: kb2, url: 'http://x'}]}\n"
        + '  - {name: b, handler: "shop:desk", mcp_servers: [{name: kb, allow: [search]}]}\n'
    )
    document(shop, text)
    good = yaml.safe_load(text)
    assert [*check.iter_errors(good)] == []
    for path, value in (
        ("tools.ask.agent", "b b"),
        ("tools.ask.type", "agnet"),
        ("tools.both.steps", ["price"]),
        ("tools.ask.effect", "read"),
        ("mcp_servers.kb.timout", 3),
        ("agents.1.mcp_servers.0.alow", []),
        ("agents.0.tools.0", 3),
    ):
        bad = yaml.safe_load(text)
        *way, last = path.split(".")
        part = bad
        for key in way:
            part = part[int(key) if key.isdigit() else key]
        part[int(last) if last.isdigit() else last] = value
        assert [*check.iter_errors(bad)], path
        with pytest.raises(InvalidDocument):
            document(shop, yaml.safe_dump(bad))
    logger = {"version": 2, "agents": [{"name": "a", "role": "logger", "tools": ["refund"]}]}
    assert [*check.iter_errors(logger)]
