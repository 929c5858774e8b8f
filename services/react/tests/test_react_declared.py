"""A document's react agent uses every kind of tool that is built here: python, agent and chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from aixgo.documents import parse_document
from aixgo.envelope import Usage
from aixgo.models import ChatMessage, ChatResponse, Choice, ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running

pytestmark = pytest.mark.virtual_time

MODULE = '''
def price(order: str) -> int:
    """Look up a price."""
    return 1250

def refund(order: str, cents: int) -> str:
    """Pay back."""
    return f"paid {cents} for {order}"

async def billing(text: str) -> str:
    if text == "A9":
        raise LookupError("no invoice A9")
    return f"invoice of {text}"
'''

DOCUMENT = """\
version: 2
tools:
  price: {type: python, function: "desk_tools:price", effect: read}
  refund: {type: python, function: "desk_tools:refund", effect: idempotent}
  pay_back:
    type: chain
    steps: [price, {tool: refund, arguments: {order: $.arguments.order, cents: $.result}}]
agents:
  - {name: billing, handler: "desk_tools:billing", retry: {max_attempts: 1}}
  - name: desk
    role: react
    model: test/scripted
    prompt: Help.
    tools: [price, pay_back, {type: agent, agent: billing}]
"""


def asks(*calls: tuple[str, str]) -> ChatResponse:
    asked = tuple(
        ToolCall(id=f"call_{number}", name=name, arguments=arguments)
        for number, (name, arguments) in enumerate(calls)
    )
    message = ChatMessage(role="assistant", content="", tool_calls=asked)
    return ChatResponse(
        model="test/scripted",
        choices=(Choice(message=message, finish_reason="tool_calls"),),
        usage=Usage(prompt_tokens=10, completion_tokens=10, model_calls=1),
    )


async def test_every_kind_answers_the_model_and_so_do_its_failures(
    running: Running, tmp_path: Path
) -> None:
    (tmp_path / "desk_tools.py").write_text(MODULE)
    document = parse_document(DOCUMENT.encode(), "f.yaml", {}, directory=tmp_path)
    model = ScriptedModel(
        [
            asks(
                ("price", '{"order": "A1"}'),
                ("pay_back", '{"order": "A1"}'),
                ("billing", '{"text": "A1"}'),
                ("pay_back", '{"ordr": "A1"}'),
                ("billing", '{"text": "A9"}'),
            ),
            "Done.",
        ]
    )
    async with running(*document.agents, model=model) as system:
        answer = await system.call("desk", "Pay A1 back.")
        (step,) = (await system.runs.tree(answer.envelope.run)).steps
    assert answer.text == "Done."
    price, paid, invoice, unknown, lost = (
        one.text for one in model.requests[1].messages if one.role == "tool"
    )
    assert (price, paid, invoice) == ("1250", "paid 1250 for A1", "invoice of A1")
    assert "ordr" in unknown or "order" in unknown
    assert unknown.startswith("Error: ")
    assert "no invoice A9" in lost
    offered = {tool.name: tool for tool in model.requests[0].tools}
    assert {*offered} == {"price", "pay_back", "billing"}
    assert offered["billing"].parameters["required"] == ["text"]
    taken = [one.path for one in step.steps if "pay_back" in one.path]
    assert taken == [
        "gather/turn1/1/tool/pay_back/1.2/tool/price/1",
        "gather/turn1/1/tool/pay_back/1.2/tool/refund/2",
    ]
