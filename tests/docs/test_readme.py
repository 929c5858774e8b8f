"""What the README shows runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from aixgo import Agent, App, Message
from aixgo.documents import parse_document
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_first_program_prints_what_it_says() -> None:
    program = blocks("python")[0]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    text, run, trace, tokens = done.stdout.split()
    assert (text, tokens) == ("HELLO", "0")
    assert re.fullmatch("[0-9a-f]{32}", run)
    assert trace == run


async def test_the_orchestrator_runs_and_waits_for_the_person() -> None:
    scope: dict[str, Any] = {}
    exec(blocks("python")[1], scope)

    async def writer(message: Message) -> str:
        return f"A draft on {message.text}."

    async def critic(message: Message) -> str:
        return f"better {message.text}"

    app = App(
        [
            Agent("review", scope["review"], model="scripted/any"),
            Agent("writer", writer),
            Agent("style", critic),
            Agent("facts", critic),
        ],
        model=ScriptedModel([lambda request: request.messages[-1].text]),
    )
    async with app.running() as system:
        run = await system.send("review", "owls")
        questions = await eventually(lambda: system.questions(run))
        assert questions[0].options == ("publish", "drop")
        assert "A draft on owls." in questions[0].question
        await system.answer(run, "publish")
        result = await system.result("review", run, timeout=PATIENCE_SECONDS)
    assert result is not None
    assert result.text.count("better A draft on owls.") == 2


def test_the_document_is_valid() -> None:
    (text,) = blocks("yaml")
    document = parse_document(text.encode(), "README.md")
    assert document.entry() == "front-desk"


def test_every_path_that_it_names_exists() -> None:
    named = set(re.findall(r"\]\((?!http)([^)#]+)\)", README))
    named |= set(re.findall(r"`((?:examples|shared|services|deploy|docs)/[^`<*]*)`", README))
    missing = [path for path in sorted(named) if not (ROOT / path).exists()]
    assert missing == []


def test_every_command_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
