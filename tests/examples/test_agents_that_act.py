"""The returns desk acts: over HTTP, with an MCP server and with a function that a person allows."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aixgo.models import ChatRequest, ToolCall
from aixgo.models.scripted import ScriptedModel
from aixgo.runs.watch import StepFinished, ToolAsked
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS

HERE = Path(__file__).parents[2] / "examples" / "agents-that-act"


@pytest.fixture
def shop() -> Iterator[str]:
    """Run the shop's API; yields its address."""
    process = subprocess.Popen(
        [sys.executable, "shop.py", "--port", "0"], cwd=HERE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_SECONDS)


@pytest.fixture
def variables(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Go to a folder of its own, where the books are, and return the document's variables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.py").symlink_to(HERE / "policy.py")
    return {"SHOP_URL": shop, "PYTHON": sys.executable}


def call(name: str, **arguments: Any) -> ToolCall:
    return ToolCall(id=name, name=name, arguments=json.dumps(arguments))


def paid(folder: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(folder / "refunds.db")) as books:
        return books.execute("SELECT number, cents FROM refunds").fetchall()


async def test_the_desk_looks_searches_asks_and_pays(
    variables: dict[str, str], tmp_path: Path
) -> None:
    def pay(request: ChatRequest) -> ToolCall:
        order = next(json.loads(one.text) for one in request.messages if one.name == "order")
        assert "within 30 days" in request.messages[-1].text
        return call("refund", order=order["order"], cents=order["cents"])

    model = ScriptedModel(
        [
            call("order", order="A1"),
            call("policy_search", text="return"),
            pay,
            lambda request: f"Done: {request.messages[-1].text}.",
        ]
    )
    document = HERE / "agents.yaml"
    async with run_local(document, model=model, answers=["yes"], environment=variables) as system:
        result = await system.call("desk", "I want to send back order A1.")
    assert result.text == "Done: refunded 1250 cents for order A1."
    assert result.meta["tool_calls"] == 3
    assert paid(tmp_path) == [("A1", 1250)]


@pytest.mark.long
@pytest.mark.local_model
async def test_the_real_local_model_uses_tools(variables: dict[str, str], tmp_path: Path) -> None:
    environment = {**os.environ, **variables}
    document = HERE / "agents.yaml"
    async with run_local(document, answers=lambda _: "no", environment=environment) as system:
        run_id = "0" * 32
        async with system.watch(run_id) as events:
            result = await system.call(
                "desk", "Look up order A1.", run_id=run_id, timeout=4 * PATIENCE_SECONDS
            )
            seen = [event async for event in events]
    assert result.text
    assert [event for event in seen if isinstance(event, ToolAsked)]
    assert [event for event in seen if isinstance(event, StepFinished) and "tool" in event.meta]
