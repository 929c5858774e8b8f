"""The pipeline's events go from the producer through the model into the log."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from aixgo import App
from aixgo.documents import load_document
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import run_local

pytestmark = pytest.mark.virtual_time

HERE = Path(__file__).parents[2] / "examples" / "pipeline"


async def test_every_review_is_answered_and_written_down_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "aixgo.agent.journal")
    document = load_document(HERE / "agents.yaml")
    model = ScriptedModel([lambda request: f"Re: {request.messages[-1].text}"], repeat=True)
    async with run_local(App.from_document(document), model=model):
        await asyncio.sleep(9)
    lines: list[Any] = [record for record in caplog.records if record.message == "event.logged"]
    reviews = document.agents[0].options.model_dump()["events"]
    assert [line.payload for line in lines] == [
        f"Re: {review}" for review in (*reviews, reviews[0])
    ]
    assert len({line.run for line in lines}) == 5, "each review is a run of its own"
    assert {line.source for line in lines} == {"reader"}
