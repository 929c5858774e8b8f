"""Runs that ask a person: the question is shown, and answered where that is possible."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import subprocess
from typing import Any

import pytest

from aixgo import Agent, App, Context, Message
from aixgo.envelope import new_id
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import eventually

ASKS = """\
from aixgo import Context, Message

async def desk(message: Message, ctx: Context) -> str:
    question = {"question": "publish?", "text": message.text}
    answer = await ctx.ask_human(question, options=["yes", "no"])
    return f"{message.text}: {answer}"
"""
SYSTEM = "version: 2\nagents: [{name: desk, handler: 'asks:desk'}]\n"


@pytest.fixture
def file(aixgo: Any) -> str:
    """The name of a document whose agent asks."""
    aixgo.write("asks.py", ASKS)
    name: str = aixgo.write("agents.yaml", SYSTEM)
    return name


@pytest.mark.parametrize("broker", ["memory", "embedded"])
def test_a_system_in_this_process_is_answered_by_lines_of_stdin(
    aixgo: Any, file: str, broker: str
) -> None:
    """Over a server the record of the answer is seen before the run is woken: it still must be."""
    words = ("run", file, "-i", "rivers", "--json", "--broker", broker)
    done = aixgo.process(*words, stdin="perhaps\nye\n")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "rivers: yes"
    assert "desk asks: publish?\n  text: rivers\nanswer (yes | no): \n" in done.stderr
    assert "'perhaps' is not an answer; choose: yes | no" in done.stderr


def test_a_question_that_nothing_can_answer_ends_the_run_at_once(aixgo: Any, file: str) -> None:
    done = aixgo.process("run", file, "-i", "rivers", stdin="")

    assert done.returncode == 1
    assert "   desk asks: publish?" in done.stdout
    assert "failed: " in done.stdout
    assert "it asks a person, and stdin, from which the answer is read, has ended" in done.stdout


def test_an_answer_that_is_not_text_is_said(aixgo: Any, file: str) -> None:
    done = aixgo.process("run", file, "-i", "rivers", "--json", stdin=b"\xe9\nyes\n")

    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "error"
    assert "stdin is not UTF-8 text: byte 0xe9 at offset 0" in done.stderr


@pytest.mark.long
def test_messages_on_stdin_are_not_answers(aixgo: Any, file: str) -> None:
    done = aixgo.process("run", file, "-i", "-", "--timeout", "2s", stdin="rivers\nyes\n")

    assert done.returncode == 1
    assert "it can be answered only here, and stdin holds the messages" in done.stdout
    assert "publish" in done.stdout.split("line 2")[1]


def test_a_terminal_gets_a_prompt(aixgo: Any, file: str) -> None:
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [*aixgo.command, "run", file, "-i", "rivers"],
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        cwd=aixgo.folder,
        env={**aixgo.env, "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    with process, contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while b"answer (yes | no): " not in shown:
            shown += os.read(screen, 65_536)
        os.write(screen, b"n\n")
        while chunk := os.read(screen, 65_536):
            shown += chunk
    assert process.returncode == 0
    os.close(screen)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "desk asks: publish?" in text
    assert "rivers: no" in text


@pytest.mark.nats
async def test_a_call_of_a_served_system_shows_the_command_that_answers(
    aixgo: Any, nats_server: NatsServer
) -> None:
    async def desk(message: Message, ctx: Context) -> str:
        return f"{await ctx.ask_human('publish?', options=['yes', 'no'])}!"

    namespace = f"t{new_id()[-12:]}"
    place = ("--broker", nats_server.url, "--namespace", namespace)
    app = App([Agent("desk", desk)], namespace=namespace)
    async with app.running(broker=nats_server.url, grace=2.0) as system:
        try:
            process = await asyncio.create_subprocess_exec(
                *aixgo.command,
                *("call", "desk", "x", *place),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                cwd=aixgo.folder,
                env=aixgo.env,
            )
            asked = await eventually(system.questions, within=60)
            run = asked[0].run_id
            assert process.stdout is not None
            lines: list[str] = []
            async with asyncio.timeout(60):
                while not any("to answer: " in line for line in lines):
                    lines.append((await process.stdout.readline()).decode())
            assert "   desk asks: publish?\n" in lines
            assert "   choose: yes | no\n" in lines
            command = lines[-1].split("to answer: ")[1].strip()
            shown = " ".join(place)
            assert command == f"aixgo runs answer {run} … --step ask/1 {shown}"

            wrong = await asyncio.to_thread(
                aixgo, *("runs", "answer", run[:20], "yes", "--step", "ask/2", *place)
            )
            assert wrong.returncode == 1
            assert f"run {run} asks nothing at step 'ask/2'; it asks at: ask/1" in wrong.stderr
            given = await asyncio.to_thread(aixgo, "runs", "answer", run[:20], "yes", *place)
            assert given.stdout == f"{run} goes on\n"
            rest = (await process.stdout.read()).decode()
            assert (await process.wait(), rest.splitlines()[0]) == (0, "   yes!")
        finally:
            await system.stop(2.0)
            for stream in await system.broker.stream_names():
                if f"aixgo-{namespace}" in stream:
                    await system.broker.delete_stream(stream)
