"""No argument changes anything of a request but its own place; wrong declarations are told."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from aixgo.errors import InvalidPayload
from aixgo.tools.declared import build_tool
from aixgo.tools.kinds import Workshop
from aixgo.tools.net.exchange import Call

from ._nasty import NASTY
from ._site import answer, built, running_site, told, use, wrong

TOOL = built(
    method="POST",
    url="https://api.example.com:8443/v1/{city}/days-{n}.json?lang={lang}&fixed=%26",
    query={"tag": "{tag}", "key": "constant"},
    headers={"X-Tenant": "t-{tenant}", "X-Fixed": "same"},
    body={"name": "{city}", "text": "to {tag}!", "deep": [{"n": "{n}"}], "fixed": True},
    parameters={
        "city": {"type": "string"},
        "n": {},
        "lang": {"type": "string"},
        "tag": {"type": "string"},
        "tenant": {"type": "string"},
    },
)


def called(**arguments: Any) -> Call | None:
    """Return the request; None for arguments that are refused."""
    try:
        checked = TOOL.arguments(msgspec.Raw(msgspec.json.encode(arguments)))
        call: Call = TOOL._requests.call(checked)
    except InvalidPayload:
        return None
    return call


@given(
    city=NASTY,
    n=st.one_of(NASTY, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False)),
    lang=NASTY,
    tag=NASTY,
    tenant=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)),
)
def test_no_argument_changes_anything_but_its_own_place(
    city: str, n: Any, lang: str, tag: str, tenant: str
) -> None:
    call = called(city=city, n=n, lang=lang, tag=tag, tenant=tenant)
    if call is None:  # refused, and only for what no escape makes safe
        assert city in ("", ".") or n == "" or ".." in re.split(r"[/\\]", f"{city}/{n}")
        return
    parts = urlsplit(call.url)
    assert (parts.scheme, parts.netloc, parts.fragment) == (
        "https",
        "api.example.com:8443",
        "",
    )
    shown = n if isinstance(n, str) else msgspec.json.encode(n).decode()
    segments = parts.path.split("/")
    assert [unquote(one) for one in segments] == ["", "v1", city, f"days-{shown}.json"]
    assert ".." not in segments
    assert "." not in segments
    assert parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) == [
        ("lang", lang),
        ("fixed", "&"),
        ("tag", tag),
        ("key", "constant"),
    ]
    sent = URL(call.url, encoded=True)  # as the client reads it
    assert (sent.host, sent.port, sent.raw_path) == ("api.example.com", 8443, parts.path)
    assert call.headers["X-Tenant"] == f"t-{tenant}"
    assert call.headers["X-Fixed"] == "same"
    assert set(call.headers) == {"Accept", "User-Agent", "Content-Type", "X-Tenant", "X-Fixed"}
    assert not any("\r" in value or "\n" in value for value in call.headers.values())
    assert msgspec.json.decode(call.body or b"") == {
        "name": city,
        "text": f"to {tag}!",
        "deep": [{"n": msgspec.json.decode(msgspec.json.encode(n))}],
        "fixed": True,
    }


@pytest.mark.parametrize("city", ["", "..", ".", "../x", "x/../../y", "..\\x", "a/.."])
def test_a_value_that_would_move_in_the_path_is_refused(city: str) -> None:
    tool = built(url="https://x.test/{city}", parameters={"city": {"type": "string"}})
    with pytest.raises(InvalidPayload, match=r"tool 'weather': url: city"):
        tool.arguments(msgspec.Raw(msgspec.json.encode({"city": city})))


def test_two_values_do_not_move_in_the_path_together() -> None:
    tool = built(
        url="https://x.test/{a}{b}", parameters={"a": {"type": "string"}, "b": {"type": "string"}}
    )
    with pytest.raises(InvalidPayload, match=r"a and b: '\.\.' cannot be a part of a path"):
        tool.arguments(msgspec.Raw(b'{"a": ".", "b": "."}'))


@pytest.mark.parametrize("city", ["a.b", "...", "v1..2", "a;b|c", "50%", "a b", "ü"])
def test_what_only_looks_odd_is_allowed(city: str) -> None:
    assert called(city=city, n=1, lang="d", tag="t", tenant="x") is not None


@pytest.mark.parametrize("tenant", ["a\r\nX-Evil: 1", "a\nb", "\x00", "ü", "\x7f"])
def test_a_header_takes_no_line_break(tenant: str) -> None:
    arguments = {"city": "x", "n": 1, "lang": "d", "tag": "t", "tenant": tenant}
    with pytest.raises(InvalidPayload, match="goes into the header 'X-Tenant'"):
        TOOL.arguments(msgspec.Raw(msgspec.json.encode(arguments)))


async def test_a_hostile_value_arrives_at_a_server_as_one_value() -> None:
    async with running_site() as site:
        tool = built(
            url=site.url + "/a/{city}",
            query={"q": "{city}"},
            parameters={"city": {"type": "string"}},
            allow_private=True,
        )
        hostile = "x?y=1&z#/%2e%2e/@evil\r\nHost: evil"

        async def told(request: web.BaseRequest) -> web.StreamResponse:
            return answer({"path": request.path, "query": dict(request.query)})

        site.will(told)
        assert await use(tool, city=hostile) == {"path": f"/a/{hostile}", "query": {"q": hostile}}


P: dict[str, Any] = {"city": {"type": "string"}}


@pytest.mark.parametrize(
    ("options", "key", "text"),
    [
        ({"url": "api.example.com"}, "url", "needs http:// or https:// and a host"),
        ({"url": "ftp://x.test/"}, "url", "needs http:// or https:// and a host"),
        ({"url": "https:///x"}, "url", "is not the beginning of a URL"),
        ({"url": "https://u:hunter2@x.test/"}, "url", "and no user or password"),
        ({"url": "https://x.test:99999/"}, "url", "is not the beginning of a URL"),
        ({"url": "https://{city}.x.test/", "parameters": P}, "url", "arguments never choose where"),
        ({"url": "https://x.test/a/../b"}, "url", "goes up with '..'"),
        ({"url": "https://x.test/#a"}, "url", "what follows '#' is never sent"),
        ({"url": "https://x.test/{city"}, "url", "is not part of a place such as {city}"),
        ({"url": "https://x.test/{citty}", "parameters": P}, "url", "did you mean 'city'?"),
        ({"url": "https://x.test/{city}"}, "url", "declare it in `parameters`"),
        ({"url": "https://x.test/?{city}=1", "parameters": P}, "url", "a name in the query"),
        (
            {"url": "https://x.test/{city}", "parameters": P, "required": []},
            "url",
            "it must always be there; add it to `required`",
        ),
        (
            {
                "url": "https://x.test/",
                "method": "POST",
                "text": "to {city}",
                "parameters": P,
                "required": [],
            },
            "text",
            "{city} is part of a text, so it must always be there",
        ),
        (
            {"url": "https://x.test/", "method": "POST", "form": {"a": "{citty}"}, "parameters": P},
            "form",
            "did you mean 'city'?",
        ),
        ({"url": "https://x.test/", "parameters": P}, "parameters", "'city' goes nowhere"),
        (
            {"url": "https://x.test/", "parameters": {"city": {"type": "strin"}}},
            "parameters",
            "is not a JSON schema",
        ),
        ({"url": "https://x.test/", "required": ["city"]}, "required", "not one of `parameters`"),
        ({"url": "https://x.test/", "body": {"a": 1}}, "body", "a GET request has no body"),
        (
            {"url": "https://x.test/", "method": "POST", "body": {"a": 1}, "text": "b"},
            "text",
            "one body",
        ),
        (
            {"url": "https://x.test/", "method": "POST", "body": {"{a}": 1}},
            "body",
            "has a place in it",
        ),
        ({"url": "https://x.test/", "method": "POST", "body": {"a": "}"}}, "body", "write '{{'"),
        ({"url": "https://x.test/", "headers": {"A b": "x"}}, "headers", "not the name of a head"),
        ({"url": "https://x.test/", "headers": {"A": "x\ny"}}, "headers", "copy it again"),
        ({"url": "https://x.test/", "headers": {"Host": "x"}}, "headers", "belongs to the connect"),
        (
            {"url": "https://x.test/", "headers": {"idempotency-key": "x"}},
            "headers",
            "is set by the tool itself; another name for it is `idempotency_header`",
        ),
        ({"url": "https://x.test/", "headers": {"X-A": "{cty}"}}, "headers", "not a parameter"),
        ({"url": "https://x.test/", "idempotency_header": "a b"}, "idempotency_header", "header"),
        ({"url": "https://x.test/", "result": "now"}, "result", "is not a JSON path"),
        ({"url": "https://x.test/", "allow_hosts": ["a/b"]}, "allow_hosts", "is not a host"),
    ],
)
def test_a_wrong_declaration_is_told_with_its_key(
    options: dict[str, Any], key: str, text: str
) -> None:
    ((loc, said),) = wrong(**options)
    assert loc == (key,)
    assert text in said
    assert "hunter2" not in said


def test_a_tool_needs_a_name() -> None:
    found, problems = build_tool({"type": "http", "url": "https://x.test/"}, Workshop())
    assert found is None
    assert told(problems) == [
        (("name",), "a tool of type 'http' needs a name; write `name: weather`")
    ]


def test_a_method_that_there_is_not_is_told() -> None:
    ((_, said),) = wrong(url="https://x.test/", method="FETCH")
    assert "method" in said
    assert "'PATCH'" in said
