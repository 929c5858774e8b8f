"""A logger writes one structured line for each message, and gives back what it is called with."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from aixgo import Agent, ConfigError, Message, Reply
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.virtual_time


class Arrival(logging.Handler):
    """Tells that a line was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.written.set()


async def source(message: Message) -> str:
    return message.text


def lines(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [record for record in caplog.records if record.name == "aixgo.agent.journal"]


async def test_an_event_of_an_input_is_one_structured_line(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aixgo.agent.journal")
    arrival = Arrival()
    logging.getLogger("aixgo.agent.journal").addHandler(arrival)
    journal = Agent("journal", role="logger", inputs=["source"])
    async with running(Agent("source", source), journal) as system:
        run = await system.publish("source", {"temperature": 21.5}, meta={"unit": "C"})
        async with asyncio.timeout(PATIENCE_SECONDS):
            await arrival.written.wait()
    logging.getLogger("aixgo.agent.journal").removeHandler(arrival)
    (line,) = lines(caplog)
    assert (line.message, line.levelname) == ("event.logged", "INFO")
    assert (line.agent, line.source, line.run) == ("journal", "source", run)
    assert (line.payload, line.cut_chars) == ('{"temperature":21.5}', 0)
    assert line.meta == {"unit": "C"}
    assert len(line.trace_id) == 32
    assert line.step.startswith("journal")


async def test_a_call_is_logged_and_echoed_with_its_metadata(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "aixgo.agent.journal")
    async with running(Agent("journal", role="logger", level="debug")) as system:
        result = await system.call("journal", [1, "two"], meta={"tenant": "acme"})
    assert result.data == [1, "two"]
    assert result.meta == {"tenant": "acme"}
    (line,) = lines(caplog)
    assert (line.message, line.levelname) == ("call.logged", "DEBUG")


async def test_a_level_that_is_switched_off_costs_no_line_and_still_echoes(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "aixgo.agent.journal")
    async with running(Agent("journal", role="logger", level="warning")) as system:
        assert (await system.call("journal", "x")).text == "x"
    assert lines(caplog) == []


async def test_a_long_payload_is_cut_in_the_line_and_whole_in_the_echo(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aixgo.agent.journal")
    async with running(Agent("journal", role="logger", max_chars=5)) as system:
        assert (await system.call("journal", "abcdefgh")).text == "abcdefgh"
        await system.call("journal", "abcde")
    assert [(line.payload, line.cut_chars) for line in lines(caplog)] == [
        ("abcde", 3),
        ("abcde", 0),
    ]


async def test_a_reply_of_another_agent_passes_through_a_logger_unchanged(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aixgo.agent.journal")

    async def label(message: Message) -> Reply:
        return Reply({"label": "spam"}, meta={"confidence": 0.1})

    agents = [
        Agent("label", label),
        Agent("journal", role="logger"),
        Agent("chain", role="orchestrator", pattern="sequential", agents=["label", "journal"]),
    ]
    async with running(*agents) as system:
        result = await system.call("chain", "buy now")
    assert result.data == {"label": "spam"}
    assert result.meta["confidence"] == 0.1
    assert lines(caplog)[0].meta == {"confidence": 0.1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "loud"}, ["level", "'debug'"]),
        ({"max_chars": 0}, ["max_chars", "1"]),
        ({"format": "xml"}, ["format"]),
        ({"min_level": "loud"}, ["min_level"]),
        ({"log": False}, ["log: false", "file or http"]),
        ({"level_from": "severity["}, ["level_from", "JSON path"]),
        ({"levels": [{"level": "error"}]}, ["a rule says when"]),
        ({"levels": [{"level": "error", "matches": "("}]}, ["regular expression"]),
        ({"levels": [{"level": "error", "field": "a["}]}, ["levels.0.field", "JSON path"]),
        ({"levels": [{"level": "loud", "source": "x"}]}, ["level"]),
        ({"file": {"path": ""}}, ["path"]),
        ({"file": {"path": "x", "max_size": "1kB"}}, ["1,024 bytes", "64kB"]),
        ({"file": {"path": "x", "max_size": 0, "keep": 3}}, ["keep belongs"]),
        ({"file": {"path": "x", "rotate": "weekly"}}, ["rotate"]),
        ({"http": {"url": "ftp://x"}}, ["url", "https://"]),
        ({"http": {"url": "http://127.0.0.1/"}}, ["127.0.0.1", "allow_hosts"]),
        ({"http": {"url": "https://x.test", "method": "PUT"}}, ["method"]),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent("journal", role="logger", **options).build()
    for word in words:
        assert word in str(caught.value)
