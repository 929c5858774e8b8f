"""The tool kind `openapi`: operations of a document, called over real sockets."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aixgo import Agent, Context, Message
from aixgo.errors import ConfigError, InvalidPayload, ToolUnavailable
from aixgo.testing.local import run_local
from aixgo.testing.waiting import eventually
from aixgo.tools.declared import build_tool
from aixgo.tools.kinds import Workshop
from aixgo.tools.openapi import source as source_module
from aixgo.tools.openapi.reading import MAX_DEPTH, read

from ._nasty import NASTY
from ._site import Site, answer, built, context, running_site, told, use

PETS: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "pets", "version": "1"},
    "servers": [{"url": "{scheme}://{host}/v1", "variables": {"scheme": {"default": "http"}}}],
    "paths": {
        "/pets/{pet-id}": {
            "parameters": [{"$ref": "#/components/parameters/PetId"}],
            "get": {
                "operationId": "getPet",
                "summary": "One pet.",
                "parameters": [
                    {"name": "fields", "in": "query", "schema": {"type": "array"}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                    {"name": "Accept", "in": "header", "schema": {"type": "string"}},
                    {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                ],
            },
            "put": {
                "operationId": "pets/put",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/xml": {},
                        "application/json": {"schema": {"$ref": "#/components/schemas/Pet"}},
                    },
                },
            },
            "delete": {"operationId": "deletePet"},
        },
        "/pets": {
            "get": {
                "operationId": "findPets",
                "description": "Looks\n for  pets.",
                "parameters": [
                    {"name": "ids", "in": "query", "explode": False, "schema": {"type": "array"}},
                    {
                        "name": "p",
                        "in": "query",
                        "style": "pipeDelimited",
                        "explode": False,
                        "schema": {"type": "array"},
                    },
                    {
                        "name": "filter",
                        "in": "query",
                        "style": "deepObject",
                        "schema": {"type": "object"},
                    },
                    {"name": "free", "in": "query", "schema": {"type": "object"}},
                    {"name": "raw", "in": "query", "content": {"application/json": {}}},
                    {
                        "name": "limit",
                        "in": "query",
                        "schema": {
                            "type": "integer",
                            "nullable": True,
                            "minimum": 0,
                            "exclusiveMinimum": True,
                            "default": 10,
                        },
                    },
                ],
            },
            "post": {
                "operationId": "addPet",
                "requestBody": {
                    "content": {
                        "application/x-www-form-urlencoded": {
                            "schema": {"$ref": "#/components/schemas/Pet"}
                        }
                    },
                },
            },
        },
    },
    "components": {
        "parameters": {
            "PetId": {
                "name": "pet-id",
                "in": "path",
                "required": True,
                "description": "Number of the pet.",
                "schema": {"type": "string"},
            }
        },
        "schemas": {
            "Pet": {
                "type": "object",
                "required": ["id", "name"],
                "properties": {
                    "id": {"type": "integer", "readOnly": True},
                    "name": {"type": "string", "example": "Rex", "nullable": True},
                    "parent": {"$ref": "#/components/schemas/Pet"},
                    "kind": {"$ref": "#/components/schemas/Kind"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "additionalProperties": False,
            },
            "Kind": {"type": "string", "enum": ["cat", "dog"], "x-more": 1},
        },
    },
}


def written(folder: Path, document: Any = PETS, name: str = "pets.yaml") -> str:
    text = yaml.safe_dump(document) if name.endswith("yaml") else json.dumps(document)
    (folder / name).write_text(text)
    return str(folder / name)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running_site() as running:
        yield running


async def source_of(tmp_path: Path, site: Site | None = None, /, **options: Any) -> Any:
    server = {"server": f"{site.url}/v1/"} if site else {"server": "https://pets.test/v1"}
    options = {"type": "openapi", "allow_private": True, **server, **options}
    if "document" not in options:
        options["document"] = written(tmp_path)
    source = await asyncio.to_thread(built, "pets", **options)  # it reads a file
    return await source.tools()


async def test_operations_are_tools_with_schemas_and_effects(tmp_path: Path) -> None:
    tools = await source_of(tmp_path)
    assert {name: tool.spec.effect for name, tool in tools.items()} == {
        "pets:getPet": "read",
        "pets:pets_put": "idempotent",
        "pets:deletePet": "idempotent",
        "pets:findPets": "read",
        "pets:addPet": "once",
    }
    assert tools["pets:getPet"].spec.description == "One pet."
    assert tools["pets:findPets"].spec.description == "Looks for pets."
    assert tools["pets:deletePet"].spec.description == "DELETE /pets/{pet-id}"
    assert tools["pets:getPet"].spec.input_schema == {
        "type": "object",
        "properties": {
            "pet-id": {"type": "string", "description": "Number of the pet."},
            "fields": {"type": "array"},
            "X-Trace": {"type": "string"},
        },
        "required": ["pet-id"],
        "additionalProperties": False,
    }
    limit = tools["pets:findPets"].spec.input_schema["properties"]["limit"]
    assert limit == {"type": ["integer", "null"], "exclusiveMinimum": 0, "default": 10}
    assert tools["pets:pets_put"].spec.input_schema["$defs"] == {
        "Pet": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": ["string", "null"]},
                "parent": {"$ref": "#/$defs/Pet"},
                "kind": {"$ref": "#/$defs/Kind"},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "additionalProperties": False,
        },
        "Kind": {"type": "string", "enum": ["cat", "dog"]},
    }


async def test_values_go_where_the_document_says(tmp_path: Path, site: Site) -> None:
    tools = await source_of(
        tmp_path,
        site,
        headers={"Authorization": "Bearer tok-0123456789"},
        query={"api_key": "key-0123456789&x"},
    )
    await use(tools["pets:getPet"], **{"pet-id": "a/b ?", "fields": ["x&y", 5], "X-Trace": "t 1"})
    await use(
        tools["pets:findPets"],
        ids=["a,b", "c"],
        p=[1, 2],
        filter={"age": 3, "a b": True},
        free={"q": "&"},
        raw={"z": [1]},
        limit=None,
    )
    await use(
        tools["pets:pets_put"], **{"pet-id": "7", "body": {"name": "Rex", "parent": {"name": "Q"}}}
    )
    await use(tools["pets:addPet"], body={"name": "R&D", "tags": ["a", "b"]})
    get, find, put, add = site.seen
    key = "api_key=key-0123456789%26x"
    assert get.target == f"/v1/pets/a%2Fb%20%3F?{key}&fields=x%26y&fields=5"
    assert (get.headers["X-Trace"], get.headers["Authorization"]) == (
        "t 1",
        "Bearer tok-0123456789",
    )
    assert find.target == (
        f"/v1/pets?{key}&ids=a%2Cb,c&p=1%7C2&filter%5Bage%5D=3&filter%5Ba%20b%5D=true&q=%26"
        "&raw=%7B%22z%22%3A%5B1%5D%7D"
    )
    assert (put.method, put.json) == ("PUT", {"name": "Rex", "parent": {"name": "Q"}})
    assert put.headers["Content-Type"] == "application/json"
    assert put.headers["Idempotency-Key"] == context().idempotency_key
    assert (add.body, add.headers["Content-Type"]) == (
        b"name=R%26D&tags=a&tags=b",
        "application/x-www-form-urlencoded",
    )


async def test_arguments_are_checked_to_the_bottom_before_anything_is_sent(
    tmp_path: Path, site: Site
) -> None:
    tools = await source_of(tmp_path, site)
    for name, arguments, text in (
        ("pets:pets_put", {"pet-id": "1", "body": {"name": "a", "parent": {"id": 1}}}, "parent"),
        ("pets:pets_put", {"pet-id": "1"}, "needs the argument 'body'"),
        ("pets:pets_put", {"pet-id": "1", "body": {"name": "a", "kind": "cow"}}, "kind"),
        ("pets:getPet", {"pet-id": ".."}, "pet-id: '..' cannot be part of a path"),
        ("pets:getPet", {"pet-id": ""}, "cannot be part of a path"),
        ("pets:getPet", {"pet-id": "1", "X-Trace": "a\r\nb: c"}, "no line breaks"),
        ("pets:findPets", {"limit": 0}, "limit"),
    ):
        with pytest.raises(InvalidPayload) as caught:
            await use(tools[name], **arguments)
        assert text in str(caught.value)
    assert site.seen == []


async def test_operations_are_chosen_and_their_effects_overridden(tmp_path: Path) -> None:
    tools = await source_of(
        tmp_path,
        operations=["addPet", "getPet"],
        effects={"addPet": "idempotent"},
        timeout="5s",
        concurrency=3,
    )
    assert {name: tool.spec.effect for name, tool in tools.items()} == {
        "pets:getPet": "read",
        "pets:addPet": "idempotent",
    }
    assert tools["pets:addPet"].spec.timeout == 5.0
    assert tools["pets:addPet"].spec.concurrency == 3


async def test_a_cache_is_for_the_operations_that_read(tmp_path: Path) -> None:
    tools = await source_of(tmp_path, cache="5m", effects={"deletePet": "read"})
    assert {name: tool.spec.cache for name, tool in tools.items()} == {
        "pets:getPet": 300.0,
        "pets:pets_put": 0.0,
        "pets:deletePet": 300.0,
        "pets:findPets": 300.0,
        "pets:addPet": 0.0,
    }


async def test_a_json_document_of_version_3_1(tmp_path: Path) -> None:
    document = copy.deepcopy(PETS) | {"openapi": "3.1.0"}
    document["paths"] = {
        "/a": {
            "post": {
                "operationId": "a",
                "requestBody": {
                    "content": {
                        "application/vnd.x+json": {
                            "schema": {
                                "$ref": "#/components/schemas/Kind",
                                "description": "beside a reference",
                            }
                        }
                    }
                },
            }
        }
    }
    tools = await source_of(tmp_path, document=written(tmp_path, document, "a.json"))
    assert tools["pets:a"].spec.input_schema["properties"]["body"] == {
        "$ref": "#/$defs/Kind",
        "description": "beside a reference",
    }


def changed(path: str, value: Any) -> Any:
    document = copy.deepcopy(PETS)
    place: Any = document
    *way, last = path.split("|")
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


GET = "paths|/pets|get"


@pytest.mark.parametrize(
    ("document", "options", "key", "text"),
    [
        (PETS, {"operations": ["getPets"]}, "operations", "did you mean 'getPet'?"),
        (PETS, {"effects": {"addPets": "read"}}, "effects", "did you mean 'addPet'?"),
        (PETS, {"server": "pets.test"}, "server", "is not the beginning of a URL"),
        (PETS, {"server": "ftp://pets.test"}, "server", "is not the beginning of a URL"),
        (PETS, {"server": ""}, "server", "the server 'http://{host}/v1' needs a value of"),
        (changed("servers", None), {"server": ""}, "server", "names no server with a whole URL"),
        (changed("openapi", None), {}, "document", "has no `openapi:` with a version"),
        (changed("openapi", "4.0"), {}, "document", "is OpenAPI 4.0; convert it to OpenAPI 3.0 or"),
        ({"swagger": "2.0"}, {}, "document", "is Swagger 2.0; convert it"),
        (changed(f"{GET}|operationId", None), {}, "document", "GET /pets has no `operationId`"),
        (
            changed(f"{GET}|operationId", "getPet"),
            {},
            "document",
            "two operations are named 'getPet'",
        ),
        (changed("paths", {}), {}, "document", "has no operation that can be used"),
        (changed("paths", []), {}, "document", "has no operation that can be used"),
        (changed("paths|/pets", 5), {}, "document", "/pets is not an object"),
        (
            changed(f"{GET}|parameters", [{"name": "a", "in": "cookie", "required": True}]),
            {"operations": ["findPets"]},
            "document",
            "operation 'findPets': parameter 'a' is sent in a cookie, which is not supported",
        ),
        (
            changed(f"{GET}|parameters", [{"name": "a", "in": "query", "style": "matrix"}]),
            {"operations": ["findPets"]},
            "document",
            "has the style 'matrix'; in the query form and",
        ),
        (
            changed(f"{GET}|requestBody", {"content": {"multipart/form-data": {}}}),
            {"operations": ["findPets"]},
            "document",
            "its body is multipart/form-data; JSON, a form and text are supported",
        ),
        (
            changed("paths|/pets/{pet-id}|parameters", []),
            {"operations": ["deletePet"]},
            "document",
            "its path has {pet-id}, which is not one of its parameters",
        ),
        (
            changed(f"{GET}|parameters", [{"$ref": "other.yaml#/a"}]),
            {"operations": ["findPets"]},
            "document",
            "refers to 'other.yaml#/a', outside of the document; bundle it",
        ),
        (
            changed(f"{GET}|parameters", [{"$ref": "#/nothing"}]),
            {"operations": ["findPets"]},
            "document",
            "refers to '#/nothing', which is not there",
        ),
        (
            changed("components|parameters|PetId", {"$ref": "#/components/parameters/PetId"}),
            {"operations": ["getPet"]},
            "document",
            "the references go in a circle",
        ),
        (
            changed(f"{GET}|parameters", [{"name": "a", "in": "query", "schema": {"type": "x"}}]),
            {"operations": ["findPets"]},
            "document",
            "is not a JSON schema that can be used",
        ),
        (
            changed(f"{GET}|operationId", "x" * 96),
            {"operations": ["x" * 96]},
            "document",
            "has 101 characters, over the limit of 100",
        ),
        (
            changed(f"{GET}|parameters", 5),
            {"operations": ["findPets"]},
            "document",
            "operation 'findPets' is not as OpenAPI says (TypeError",
        ),
    ],
)
def test_what_is_wrong_or_not_supported_is_one_clear_error(
    tmp_path: Path, document: Any, options: dict[str, Any], key: str, text: str
) -> None:
    written(tmp_path, document)
    given = {"type": "openapi", "name": "pets", "document": "pets.yaml"}
    given |= {"server": "https://pets.test/v1", **options}
    found, problems = build_tool(given, Workshop(directory=tmp_path))
    assert found is None
    ((loc, said),) = told(problems)
    assert loc == (key,)
    assert text in said
    assert "openapi 'pets'" in said or "tool 'pets:findPets'" in said


def test_a_description_of_all_operations_together_is_refused(tmp_path: Path) -> None:
    given = {"type": "openapi", "name": "pets", "document": written(tmp_path), "description": "x"}
    ((loc, said),) = told(build_tool(given, Workshop())[1])
    assert (loc, said) == (
        ("description",),
        "each operation has its own; leave `description` out",
    )


def test_a_file_that_is_not_there_is_told() -> None:
    given = {"type": "openapi", "name": "pets", "document": "no.yaml"}
    ((loc, said),) = told(build_tool(given, Workshop())[1])
    assert (loc, said) == (
        ("document",),
        "cannot read 'no.yaml': No such file or directory; it is looked for beside the document "
        "that names it",
    )
    ((loc, said),) = told(build_tool(given | {"document": "ftp://x/y"}, Workshop())[1])
    assert (loc, "path of a file" in said) == (("document",), True)


async def test_without_a_choice_what_is_not_supported_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = changed(f"{GET}|requestBody", {"content": {"multipart/form-data": {}}})
    tools = await source_of(tmp_path, document=written(tmp_path, document))
    assert "pets:findPets" not in tools
    assert len(tools) == 4
    (record,) = [one for one in caplog.records if one.message == "openapi.left_out"]
    assert "multipart/form-data" in record.__dict__["error"]


# -- what a document may cost --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 300_000, "nests deeper than 100 levels"),
        (b'{"a":' * 300_000, "nests deeper than 100 levels"),
        (b"a: &a [*a]", "line 1: *a stands for what is around it"),
        (
            b"a0: &a0 [1]\n"
            + b"".join(
                b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10))
                for i in range(1, 12)
            ),
            "has more than 500,000 values",
        ),
        (
            b"a0: &a0 [1]\n"
            + b"".join(b"a%d: &a%d [*a%d]\n" % (i, i, i - 1) for i in range(1, MAX_DEPTH + 2)),
            "nests deeper than 100 levels",
        ),
        (b"x" * (10 * 1024 * 1024 + 1), "has 10,485,761 bytes, over the limit of 10,485,760"),
        (b"- a", "it is not a mapping"),
        (b"\xff\xfe", "neither JSON nor YAML"),
        (b"a: b: c", "neither JSON nor YAML"),
    ],
)
def test_a_hostile_document_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, "it")
    assert said in str(caught.value)


def test_yaml_is_read_with_the_core_types_of_1_2() -> None:
    text = b"a: &x [1, -2.5e3, yes, 2020-01-01, ~, '1', true, .5]\nb: *x\n200: {on: off}\n"
    values = [1, -2500.0, "yes", "2020-01-01", None, "1", True, 0.5]
    assert read(text, "it") == {"a": values, "b": values, "200": {"on": "off"}}


def test_a_schema_that_nests_too_deep_is_refused(tmp_path: Path) -> None:
    deep: Any = {"type": "string"}
    for _ in range(150):
        deep = {"type": "array", "items": deep}
    document = changed("components|schemas|Kind", deep)
    given = {"type": "openapi", "name": "p", "server": "https://p.test", "operations": ["pets/put"]}
    given["document"] = written(tmp_path, document, "deep.json")
    ((_, said),) = told(build_tool(given, Workshop())[1])
    assert "deep" in said


PLACES = st.sampled_from(
    [
        *("openapi", "servers", "paths", "components", "paths|/pets", "paths|/pets|get"),
        *("paths|/pets/{pet-id}|parameters", "components|parameters|PetId"),
        *("components|schemas|Pet", "components|schemas|Pet|properties", "components|schemas"),
        *("components|parameters|PetId|schema", "paths|/pets|post|requestBody"),
        *("paths|/pets|post|requestBody|content", "paths|/pets/{pet-id}|put|requestBody|content"),
    ]
)
JUNK = st.recursive(
    st.sampled_from(
        [1, "", "x", True, "#/components/schemas/Pet", "https://x.test", "#/paths", "query", "path"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("$ref", "schema", "content", "in", "name", "type", "properties", "items"),
                    *("url", "variables", "parameters", "get", "required", "operationId", "allOf"),
                ]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(place=PLACES, junk=JUNK)
@settings(max_examples=300)
def test_no_document_breaks_the_reader(place: str, junk: Any) -> None:
    document = changed(place, junk)
    settings_, problems = build_tool(
        {"type": "openapi", "name": "p", "document": "https://x.test", "allow_private": True},
        Workshop(),
    )
    assert problems == []
    maker = settings_._maker  # type: ignore[union-attr]
    try:
        tools = maker.tools(document)
    except ConfigError:
        return
    for tool in tools.values():
        msgspec.json.encode(tool.spec.input_schema)


def pets_of(document: Any = PETS) -> Any:
    options = {"type": "openapi", "name": "p", "document": "https://x.test"}
    source, problems = build_tool({**options, "server": "https://p.test/v1"}, Workshop())
    assert problems == []
    return source._maker.tools(document)  # type: ignore[union-attr]


TOOLS = pets_of()


@given(
    pet=NASTY,
    fields=st.lists(NASTY, max_size=3),
    trace=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)),
)
def test_no_argument_changes_anything_but_its_own_place(
    pet: str, fields: list[str], trace: str
) -> None:
    tool = TOOLS["p:getPet"]
    given_ = {"pet-id": pet, "fields": fields, "X-Trace": trace}
    try:
        arguments = tool.arguments(msgspec.Raw(msgspec.json.encode(given_)))
    except InvalidPayload:
        assert pet in ("", ".") or ".." in re.split(r"[/\\]", pet)
        return
    call = tool._requests.call(arguments)
    parts = urlsplit(call.url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "p.test", "")
    assert [unquote(one) for one in parts.path.split("/")] == ["", "v1", "pets", pet]
    pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(fields))
    assert pairs == [("fields", one) for one in fields]
    assert call.headers["X-Trace"] == trace.strip()
    assert set(call.headers) == {"Accept", "User-Agent", "X-Trace"}


@given(filter_=st.dictionaries(NASTY, NASTY, max_size=3), ids=st.lists(NASTY, max_size=3))
def test_objects_and_lists_of_a_query_stay_in_their_place(
    filter_: dict[str, str], ids: list[str]
) -> None:
    tool = TOOLS["p:findPets"]
    given_ = {"filter": filter_, "ids": ids, "limit": None}
    arguments = tool.arguments(msgspec.Raw(msgspec.json.encode(given_)))
    query = urlsplit(tool._requests.call(arguments).url).query
    pairs = parse_qsl(query, keep_blank_values=True)
    assert [name for name, _ in pairs] == ["ids", *(f"filter[{name}]" for name in filter_)]
    assert [value for _, value in pairs[1:]] == [*filter_.values()]
    raw = query.partition("&")[0].removeprefix("ids=")
    assert [unquote(one) for one in raw.split(",")] == (ids or [""])


# -- documents at a URL --------------------------------------------------------------------------


async def test_a_document_at_a_url_is_fetched_with_back_off(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_module, "_FIRST_PAUSE_SECONDS", 0.001)
    document = changed("servers", [{"url": "/v2"}])
    site.will(
        answer("starting", status=503),
        answer({"swagger": "2.0"}),
        answer(yaml.safe_dump(document), Content_Type="application/yaml"),
    )
    source = built(
        "pets",
        type="openapi",
        document=f"{site.url}/docs/openapi.yaml",
        headers={"X-Key": "key-0123456789"},
        allow_private=True,
    )

    async def asks(message: Message, ctx: Context) -> Any:
        return await ctx.tool("pets:getPet", {"pet-id": "1"})

    async with run_local(Agent("a", asks, tools=[source])) as local:
        assert (await local.call("a", "go")).data == {"ok": True}
    assert [one.target for one in site.seen] == ["/docs/openapi.yaml"] * 3 + ["/v2/pets/1"]
    assert {one.headers["X-Key"] for one in site.seen} == {"key-0123456789"}
    away = [one.__dict__["error"] for one in caplog.records if one.message == "openapi.away"]
    assert ["answered 503" in away[0], "is Swagger 2.0" in away[1]] == [True, True]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("openapi")]


async def test_a_document_that_never_comes_is_told_with_its_cause(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "FIRST_WAIT_SECONDS", 0.05)
    site.will(*(answer("gone", status=404) for _ in range(5)))
    source = built("pets", type="openapi", document=f"{site.url}/x?key=k", allow_private=True)
    await source.open()
    try:
        await eventually(lambda: source._failure, bool)
        with pytest.raises(ToolUnavailable, match=r"could not be used: .* answered 404: gone") as e:
            await source.tools()
        assert "key=k" not in str(e.value)
    finally:
        await source.close()
    with pytest.raises(ToolUnavailable):  # outside of a service it is fetched when it is needed
        await source.tools()


async def test_a_document_at_a_private_address_is_refused_by_the_guard(site: Site) -> None:
    source = built("pets", type="openapi", document=site.url)
    with pytest.raises(ToolUnavailable, match="which is a loopback address"):
        await source.tools()
    assert site.seen == []


async def test_a_document_from_elsewhere_does_not_choose_where_secrets_go(site: Site) -> None:
    async with running_site() as evil:
        for options in ({"headers": {"X-Key": "key-0123456789"}}, {"query": {"k": "key-0123"}}):
            evil.will(answer(changed("servers", [{"url": site.url}])))
            source = built("pets", type="openapi", document=evil.url, allow_private=True, **options)
            with pytest.raises(ToolUnavailable, match=rf"say `server: {site.url}` so that"):
                await source.tools()
        evil.seen.clear()
        evil.will(answer(changed("servers", [{"url": evil.url}])))
        source = built(
            "pets",
            type="openapi",
            document=evil.url,
            server=site.url,
            headers={"X-Key": "key-0123456789"},
            allow_private=True,
        )
        tools = await source.tools()
        await use(tools["pets:deletePet"], **{"pet-id": "1"})
        assert "X-Key" not in evil.seen[0].headers  # the document is not the API
        assert site.seen[0].headers["X-Key"] == "key-0123456789"


async def test_the_log_says_when_the_tools_are_there(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.will(answer(changed("servers", [{"url": "/"}])))
    source = built("pets", type="openapi", document=site.url, allow_private=True)
    await source.open()
    assert len(await source.tools()) == 5
    await source.close()
    (record,) = [one for one in caplog.records if one.message == "openapi.ready"]
    assert record.__dict__["tools"] == 5
