"""A react agent with `output` answers with data: with and without tools, as declared anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from aixgo import Agent, ConfigError, tool
from aixgo.documents import load_document
from aixgo.errors import RemoteError
from aixgo.models import ChatMessage, ChatRequest, ChatResponse, Choice, ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.testing import Faults, SimulatedSystem, simulate
from aixgo.testing.local import Running

pytestmark = pytest.mark.virtual_time
MODEL = "test/scripted"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer", "maximum": 60}},
    "required": ["city", "degrees"],
}


class Forecast(BaseModel):
    city: str
    degrees: int = Field(le=60)
    sky: str = "blue"


class Sunny(msgspec.Struct, tag=True):
    hours: int


class Rainy(msgspec.Struct, tag=True):
    litres: int


@tool(effect="read")
async def weather(city: str) -> int:
    """Say how warm it is."""
    return 21


def desk(*tools: Any, **options: Any) -> Agent:
    return Agent("desk", role="react", model=MODEL, prompt="Help.", tools=tools, **options)


def uses(request: ChatRequest) -> ChatResponse:
    call = ToolCall(id="c1", name="weather", arguments='{"city": "Rome"}')
    message = ChatMessage(role="assistant", tool_calls=(call,))
    answer = ScriptedModel(["x"])._next(request)
    choice = Choice(message=message, finish_reason="tool_calls")
    return msgspec.structs.replace(answer, choices=(choice,))


@pytest.mark.parametrize("output", [SCHEMA, Forecast, "test_react_output:Forecast"])
async def test_without_tools_the_model_is_held_to_the_schema(
    running: Running, output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    model = ScriptedModel(['{"city": "Rome", "degrees": 21}'])
    async with running(desk(output=output), model=model) as system:
        result = await system.call("desk", "Rome?")
    assert {"city": "Rome", "degrees": 21}.items() <= result.data.items()
    assert ("sky" in result.data) is (output is not SCHEMA)  # a type's defaults are filled in
    (request,) = model.requests
    assert request.response is not None
    assert set(request.response.schema["properties"]) >= {"city", "degrees"}
    assert request.messages[0].text == "Help."


async def test_with_tools_the_form_is_in_the_prompt_and_the_answer_costs_no_further_call(
    running: Running,
) -> None:
    model = ScriptedModel([uses, 'It is warm:\n```json\n{"city": "Rome", "degrees": 21}\n```'])
    async with running(desk(weather, output=SCHEMA), model=model) as system:
        result = await system.call("desk", "Rome?")
    assert result.data == {"city": "Rome", "degrees": 21}
    assert result.meta["tool_calls"] == 1
    first, second = model.requests
    assert first.response is None
    assert second.response is None
    system_text = first.messages[0].text
    assert system_text.startswith("Help.\n\nYour final answer")
    assert json.loads(system_text.partition("schema:\n")[2])["required"] == ["city", "degrees"]


async def test_an_answer_that_does_not_fit_is_mended_without_tools(running: Running) -> None:
    model = ScriptedModel([uses, "It is warm.", '{"city": "Rome", "degrees": 99}',
                           '{"city": "Rome", "degrees": 21}'])  # fmt: skip
    async with running(desk(weather, output=Forecast), model=model) as system:
        result = await system.call("desk", "Rome?")
    assert result.data == {"city": "Rome", "degrees": 21, "sky": "blue"}
    third, fourth = model.requests[2:]
    assert (third.tool_choice, [one.name for one in third.tools]) == ("none", ["weather"])
    assert third.response is not None
    roles = [message.role for message in fourth.messages]
    assert roles == ["system", "user", "assistant", "tool", *["assistant", "user"] * 2]
    assert "degrees: Input should be less than or equal to 60" in fourth.messages[-1].text


async def test_when_nothing_fits_the_error_says_what_was_wrong(running: Running) -> None:
    model = ScriptedModel(["warm"], repeat=True)
    async with running(desk(output=SCHEMA, max_retries=1), model=model) as system:
        with pytest.raises(RemoteError, match=r"in 2 answers: 1\. 'warm'") as failed:
            await system.call("desk", "Rome?")
    assert (failed.value.cause, model.calls) == ("bad_model_answer", 2)


async def test_one_of_several_types_may_be_the_answer(running: Running) -> None:
    model = ScriptedModel(['{"value": {"type": "Rainy", "litres": 3}}'])
    async with running(desk(output=Sunny | Rainy), model=model) as system:
        assert (await system.call("desk", "Rome?")).data == {"type": "Rainy", "litres": 3}


def test_the_schema_of_the_answers_is_the_agents() -> None:
    assert desk().output_schema == {}
    assert desk(output=SCHEMA).output_schema == SCHEMA
    assert desk(output=Forecast).output_schema["required"] == ["city", "degrees"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"type": "thing"}, "is not a JSON schema that can be used"),
        ("no reference", "write `module:name`"),
        ("test_react_output:Forcast", "has no 'Forcast'; did you mean 'Forecast'?"),
        ("nowhere.at_all:X", "there is no module 'nowhere'"),
        ("test_react_output:desk", "is not a type; name a pydantic model"),
        (complex, "cannot validate messages of type"),
        (7, "cannot validate messages of type 7"),
    ],
)
def test_a_wrong_output_is_refused_before_anything_starts(
    output: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(ConfigError) as wrong:
        desk(output=output)
    assert said in str(wrong.value)
    assert "output" in str(wrong.value)


def test_a_document_names_a_type_of_a_module_beside_it(tmp_path: Path) -> None:
    (tmp_path / "shapes_beside.py").write_text(
        "import msgspec\nclass Bill(msgspec.Struct):\n    total: float\n"
    )
    file = tmp_path / "agents.yaml"
    file.write_text(
        "version: 2\nname: shop\nmodels: {default: test/scripted}\nagents:\n"
        '  - {name: desk, role: react, output: "shapes_beside:Bill"}\n'
        "  - name: other\n    role: react\n    max_retries: 0\n"
        "    output: {type: object, properties: {a: {type: string}}}\n"
    )
    desk, other = load_document(file).agents
    assert desk.output_schema["$defs"]["Bill"]["required"] == ["total"]
    assert other.output_schema["properties"] == {"a": {"type": "string"}}
    file.write_text(file.read_text().replace("Bill", "Bil"))
    with pytest.raises(ConfigError, match=r"agents\.yaml:5:.*did you mean 'Bill'"):
        load_document(file)


def test_no_answer_is_paid_twice_whenever_a_process_dies() -> None:
    def answer(request: ChatRequest) -> Any:
        said = [one for one in request.messages if one.role == "assistant"]
        if not said:
            return uses(request)
        return '{"city": "Rome", "degrees": 21}' if len(said) > 2 else "It is warm."

    async def scenario(system: SimulatedSystem) -> None:
        result = await system.call("desk", "Rome?")
        assert result.data == {"city": "Rome", "degrees": 21}

    report = simulate(
        scenario,
        agents=lambda: [desk(weather, output=SCHEMA)],
        model=lambda: ScriptedModel([answer], repeat=True),
        seeds=range(20),
        faults=Faults(crash=0.1),
    )
    assert report.repeated > 0
