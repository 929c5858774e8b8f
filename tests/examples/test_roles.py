"""One example for each role does what its README says, without a key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, App, Message
from aixgo.documents import load_document
from aixgo.models import ChatRequest
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def started(program: Path, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Run a program of an example; yields its first line, and those that come after the block."""
    process = subprocess.Popen(
        [sys.executable, str(program), "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), said
    finally:
        process.kill()
        rest, _ = process.communicate(timeout=PATIENCE_SECONDS)
        said += rest.splitlines()


def with_ears(document: Path, environment: dict[str, str], *sources: str) -> tuple[App, list[Any]]:
    """Return the system of a document with one more agent, and what that hears."""
    heard: list[Any] = []

    async def ears(message: Message) -> None:
        heard.append((message.source, message.data))

    app = App.from_document(load_document(document, environment))
    listener = Agent("ears", ears, inputs=list(sources), concurrency=1)
    return App([*app.agents.values(), listener], name=app.name), heard


# -- classifier --------------------------------------------------------------------------------


def votes(*answers: Any) -> ScriptedModel:
    left = list(answers)

    def vote(request: ChatRequest) -> str:
        assert request.response is not None
        return json.dumps(left.pop(0))

    return ScriptedModel([vote], repeat=True)


async def test_the_classifier_counts_votes_and_names_the_runner_up() -> None:
    document = EXAMPLES / "classifier/agents.yaml"
    model = votes({"category": "complaint"}, {"category": "question"}, {"category": "complaint"})
    async with run_local(document, model=model, environment={}) as system:
        result = await system.call("triage", "The zip broke after a week.")
    assert result.data["category"] == "complaint"
    assert result.data["alternatives"] == [
        {"category": "question", "confidence": pytest.approx(1 / 3)}
    ]
    assert result.meta["below_threshold"] is False


async def test_the_classifier_names_all_that_a_message_belongs_to() -> None:
    document = EXAMPLES / "classifier/agents.yaml"
    delivery, product = {"category": "delivery"}, {"category": "product"}
    both, one = {"labels": [delivery, product]}, {"labels": [delivery]}
    async with run_local(document, model=votes(both, one, both), environment={}) as system:
        result = await system.call("labels", "The parcel was late and the zip broke.")
    assert result.meta["categories"] == ["delivery", "product"]


@pytest.mark.local_model
@pytest.mark.long
async def test_the_classifier_runs_on_the_local_model() -> None:
    async with run_local(EXAMPLES / "classifier/agents.yaml", environment={}) as system:
        result = await system.call(
            "triage", "The zip broke after a week.", timeout=4 * PATIENCE_SECONDS
        )
    assert result.data["category"] in {"complaint", "praise", "question"}
    assert sum(result.data["votes"].values()) == 3


# -- producer ----------------------------------------------------------------------------------


async def test_the_producers_fire_poll_and_listen(capsys: pytest.CaptureFixture[str]) -> None:
    with started(EXAMPLES / "producer/shop.py", "--every", "0.2") as (url, _):
        variables = {"SHOP_URL": url, "CRON": "* * * * * *"}
        app, heard = with_ears(
            EXAMPLES / "producer/agents.yaml", variables, "orders", "morning", "doorbell"
        )
        async with run_local(app) as system:
            await system.broker.publish("doorbell.front", b"ring")
            await eventually(lambda: ("doorbell", "ring") in heard)
            orders = await eventually(
                lambda: [data for source, data in heard if source == "orders"],
                lambda found: len(found) >= 5,
            )
            reports = await eventually(
                lambda: [data for source, data in heard if source == "morning"],
                lambda found: len(found) >= 2,
            )
    assert [order["number"] for order in orders] == list(range(1, len(orders) + 1))
    assert [report["number"] for report in reports] == list(range(1, len(reports) + 1))
    printed = capsys.readouterr().out
    assert "doorbell: ring\n" in printed
    assert 'orders: {"number":1,"item":"boots"}\n' in printed


# -- logger ------------------------------------------------------------------------------------


def lines(path: Path) -> list[Any]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


async def test_the_loggers_write_all_to_a_file_and_send_what_matters(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    with started(EXAMPLES / "logger/collector.py") as (url, said):
        variables = {"JOURNAL": str(journal), "COLLECTOR_URL": url, "PACE": "50ms"}
        async with run_local(EXAMPLES / "logger/agents.yaml", environment=variables) as system:
            alarms = system.services["alarms"]
            await eventually(lambda: len(lines(journal)) >= 6)
            await eventually(lambda: alarms.counts.received >= 7)
    written = [(line["level"], line["payload"]) for line in lines(journal)]
    assert written[:5] == [
        ("info", {"sensor": "boiler", "celsius": 61.5}),
        ("info", {"sensor": "boiler", "celsius": 64.0}),
        ("warning", {"sensor": "boiler", "celsius": 83.2}),
        ("info", {"sensor": "pump", "state": "running"}),
        ("critical", {"sensor": "pump", "state": "failed", "severity": "critical"}),
    ]
    assert not [payload for _, payload in written if "heartbeat" in payload]
    assert said[:2] == [
        'warning {"sensor": "boiler", "celsius": 83.2}',
        'critical {"sensor": "pump", "state": "failed", "severity": "critical"}',
    ]


# -- custom ------------------------------------------------------------------------------------


async def test_roles_of_ones_own_answer_and_produce() -> None:
    app, heard = with_ears(EXAMPLES / "custom/agents.yaml", {}, "countdown")
    async with run_local(app) as system:
        text = "we utilise e-mail. no more paper."
        assert (await system.call("desk", text)).text == "We use email"
        assert (await system.call("plain", text)).meta["changes"] == 1
        await eventually(lambda: [data for _, data in heard] == [3, 2, 1, 0])
    assert len(heard) == 4


def test_each_role_has_an_example_that_its_readme_runs() -> None:
    for role in ("classifier", "custom", "logger", "producer"):
        page = (EXAMPLES / role / "README.md").read_text()
        assert "aixgo run" in page
        assert (EXAMPLES / role / "agents.yaml").exists()


# -- planner -----------------------------------------------------------------------------------


async def test_the_planner_names_tools_and_searches() -> None:
    document = EXAMPLES / "planner" / "agents.yaml"
    steps = [
        {"step_number": 1, "action": "Book a van", "minutes": 10, "tool": "book_van"},
        {"step_number": 2, "action": "Tell everybody", "minutes": 5, "tool": "send_mail"},
        {"step_number": 3, "action": "Carry", "minutes": 240, "prerequisites": [1, 2]},
    ]
    model = ScriptedModel([json.dumps({"steps": steps})])
    async with run_local(document, model=model, environment={}) as system:
        plan = (await system.call("steps", "Move our office.")).data
        assert [one.get("tool") for one in plan["steps"]] == ["book_van", "send_mail", None]
        assert (plan["parallel_groups"], plan["estimated_duration"]) == ([[1, 2], [3]], "250m")
        told = model.requests[0].messages[0].text
        assert "- book_van: Rent a van for a day." in told

        ideas, scores = {"ideas": ["by van", "by hand"]}, {"scores": [8, 3]}
        model.add(*(json.dumps(one) for one in (ideas, scores, ideas, scores)))
        model.add(json.dumps({"steps": [{"step_number": 1, "action": "Drive"}]}))
        model.add('{"score": 9, "problems": []}')
        plan = (await system.call("search", "Move our office.")).data
        assert plan["self_critique"] == {"score": 9, "problems": [], "mended": False}
        assert model.requests[5].messages[-1].text.endswith("1. by van\n2. by van")


# -- aggregator --------------------------------------------------------------------------------


async def test_the_aggregator_makes_one_reading_of_many() -> None:
    app, heard = with_ears(EXAMPLES / "aggregator" / "agents.yaml", {}, "room")
    async with run_local(app, model=ScriptedModel()) as system:
        votes = await system.call("jury", ["yes", "no", "yes"])
        await eventually(lambda: heard)
    assert (votes.data["aggregated_content"], votes.data["consensus_level"]) == ("yes", 0.6667)
    name, reading = heard[0]
    assert name == "room"
    assert set(reading["sources"]) == {"north", "south", "door"}
    assert reading["aggregated_content"] in {"warm", "hot", "cold"}
