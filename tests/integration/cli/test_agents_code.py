"""What the code of agents prints, takes and does to its process, as the command line shows it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

TYPED = """\
import msgspec

class Order(msgspec.Struct):
    count: int

async def shop(order: Order) -> str:
    print("an order came")
    return f"{order.count} sold"
"""
SYSTEM = "version: 2\nagents: [{name: shop, handler: 'shop:shop'}]\n"

FRAIL = """\
import asyncio, os, pathlib, sys
from aixgo import Message

died = pathlib.Path("died")
if "service" in sys.argv and not died.exists():
    died.touch()
    os._exit(3)

async def shop(message: Message) -> str:
    if message.text == "wait":
        print("it waits")
        await asyncio.Event().wait()
    print("it lives")
    return "sold"
"""


@pytest.fixture
def typed(aixgo: Any) -> str:
    """The name of a document with an agent that takes a typed value."""
    aixgo.write("shop.py", TYPED)
    name: str = aixgo.write("agents.yaml", SYSTEM)
    return name


def test_a_json_value_reaches_a_typed_agent_and_what_it_prints_does_not_mix_in(
    aixgo: Any, typed: str
) -> None:
    aixgo.write("order.json", '{"count": 2}')
    for data in ('{"count": 2}', "@order.json"):
        done = aixgo("run", typed, "--data", data, "--json")
        assert (json.loads(done.stdout)["text"], json.loads(done.stdout)["input"]) == (
            "2 sold",
            "data",
        )
        assert done.stderr == "an order came\n"
    separate = aixgo.process("run", typed, "--data", '{"count": 3}', "--json")
    assert json.loads(separate.stdout)["text"] == "3 sold"
    assert separate.stderr == "an order came\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--data", '{"count": "two"}'], "--data does not fit agent 'shop': "),
        (["--data", "{"], "--data is not JSON"),
        (["--data", "1", "-i", "x"], "give the message either as --input or as --data JSON"),
        (["--data", "@none.json"], "none.json: cannot be read"),
        (
            ["-i", "x", "--timeout", "0s"],
            "--timeout: 0s is not a time to wait for; give 1ms",
        ),
        (["-i", "x", "--timeout", "soon"], "--timeout: not a duration"),
        (["--timeout", "1s"], "--timeout is the time for an answer"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_runs(
    aixgo: Any, typed: str, arguments: list[str], reason: str
) -> None:
    for verb in ("run", "up"):
        done = aixgo(verb, typed, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert reason in done.stderr


@pytest.mark.parametrize("place", ["/proc/x", "/proc", "agents.yaml", "agents.yaml/x"])
def test_a_store_that_cannot_be_written_is_one_line_that_names_the_option(
    aixgo: Any, typed: str, place: str
) -> None:
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("there is no /proc here")
    for verb in ("run", "up"):
        done = aixgo(
            verb, typed, "--data", '{"count": 1}', "--broker", "embedded", "--store", place
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"--store {place}: ")
        assert done.stderr.endswith("give a folder in which this user may write\n")
        assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_up_shows_restarts_and_what_agents_print_beside_the_results(aixgo: Any) -> None:
    aixgo.write("shop.py", FRAIL)
    done = aixgo.process("up", aixgo.write("agents.yaml", SYSTEM), "-i", "pears", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "sold"
    assert "ended with exit code 3; starting it again in 0.5 s (restart 1)" in done.stderr
    assert "shop │ it lives\n" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_up_with_its_code_while_a_message_has_no_answer(
    aixgo: Any, started: Any, number: signal.Signals, code: int
) -> None:
    aixgo.write("shop.py", FRAIL)
    process = started(["up", aixgo.write("agents.yaml", SYSTEM), "-i", "wait"])
    for line in process.stderr:
        if "it waits" in line:
            break
    process.send_signal(number)
    process.send_signal(number)  # no patience for the drain

    assert process.wait(60) == code
