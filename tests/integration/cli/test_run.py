"""`aixgo run`: messages in, results out, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from aixgo.testing.fake_provider import Fail, Say, fake_provider
from aixgo.testing.waiting import PATIENCE_SECONDS

ECHO = "version: 2\nagents: [{name: echo, role: logger, level: debug}]\n"
CHAIN = ECHO + "orchestration: {name: chain, pattern: sequential, agents: [echo, echo]}\n"


def desk(base_url: str, more: str = "") -> str:
    return (
        "version: 2\n"
        f"models: {{default: fake/m, providers: {{fake: {{base_url: '{base_url}'}}}}}}\n"
        "agents:\n"
        f"  - {{name: desk, role: react, prompt: Answer., {more} retry: {{max_attempts: 1}}}}\n"
        "orchestration: {name: front, pattern: sequential, agents: [desk]}\n"
    )


async def finished(aixgo: Any, *arguments: str) -> tuple[int, str, str]:
    """Run a command to its end beside what the test serves."""
    process = await asyncio.create_subprocess_exec(
        *aixgo.command,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=aixgo.folder,
        env=aixgo.env,
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


# -- inputs --------------------------------------------------------------------------------------


def results(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_text_gets_one_result(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", CHAIN)
    done = aixgo("run", file, "--input", "hello", "--json")

    (result,) = results(done)
    assert done.returncode == 0
    assert (result["agent"], result["status"], result["text"]) == ("chain", "done", "hello")
    assert result["meta"]["pattern"] == "sequential"
    assert result["usage"]["cost_usd"] == 0.0
    assert len(result["run_id"]) == 32


def test_a_file_is_a_message_and_a_folder_is_one_for_each_file_in_order(
    aixgo: Any, tmp_path: Path
) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for name, text in {"b.txt": "second\n", "a.txt": "first", ".hidden": "no"}.items():
        (inbox / name).write_text(text)
    done = aixgo("run", file, "-i", "@inbox/b.txt", "-i", "@inbox", "--json")

    assert [(one["input"], one["text"]) for one in results(done)] == [
        ("b.txt", "second"),
        ("a.txt", "first"),
        ("b.txt", "second"),
    ]


def test_lines_of_stdin_are_messages_and_blank_ones_are_not(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    done = aixgo.process("run", file, "--input", "-", "--json", stdin="one\n\n two \nthree")

    assert [one["text"] for one in results(done)] == ["one", "two", "three"]


@pytest.mark.long
def test_stdin_may_have_a_byte_order_mark_and_must_be_text(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    for data in (b"\xef\xbb\xbfone\ntw\xc3\xb6", "one\ntw\u00f6".encode("utf-16")):
        done = aixgo.process("run", file, "-i", "-", "--json", stdin=data)
        assert [(one["input"], one["text"]) for one in results(done)] == [
            ("line 1", "one"),
            ("line 2", "tw\u00f6"),
        ]
    done = aixgo.process("run", file, "-i", "-", "--json", stdin=b"one\ncaf\xe9\n")
    assert (done.returncode, [one["text"] for one in results(done)]) == (2, ["one"])
    assert done.stderr == "stdin is not UTF-8 text: byte 0xe9 at offset 7; save it as UTF-8\n"


def test_each_of_several_inputs_is_named(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    done = aixgo("run", file, "-i", "one", "-i", "@agents.yaml", "-i", "two", "--json")

    assert [one["input"] for one in results(done)] == ["input 1", "agents.yaml", "input 3"]
    assert [one["input"] for one in results(aixgo("run", file, "-i", "one", "--json"))] == ["input"]


def test_stdin_without_a_message_is_said(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    done = aixgo.process("run", file, "-i", "-", stdin="\n \n")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--input -: stdin has no message; write one into it, one per line\n"


def test_inputs_that_cannot_be_read_are_refused_before_anything_runs(
    aixgo: Any, tmp_path: Path
) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for given, reason in {
        "@none.txt": "cannot be read: No such file or directory",
        "@empty": "the folder has no files",
        "@latin.txt": "is not UTF-8 text: byte 0xe9 at offset 3",
        " ": "is empty; give a message",
    }.items():
        done = aixgo("run", file, "--input", given)
        assert done.returncode == 2
        assert reason in done.stderr


def test_the_embedded_server_gives_the_same_result(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", CHAIN)
    done = aixgo("run", file, "--input", "hello", "--json", "--broker", "embedded")

    assert done.returncode == 0, done.stderr
    assert results(done)[0]["text"] == "hello"


# -- who takes the message -----------------------------------------------------------------------


def test_the_agent_can_be_chosen_and_must_be_when_several_could_be_meant(aixgo: Any) -> None:
    file = aixgo.write(
        "agents.yaml", "version: 2\nagents: [{name: a, role: logger}, {name: b, role: logger}]\n"
    )

    assert results(aixgo("run", file, "-i", "x", "--agent", "b", "--json"))[0]["agent"] == "b"
    done = aixgo("run", file, "-i", "x")
    assert done.returncode == 2
    assert "2 agents that could take the message: a, b; choose one with --agent" in done.stderr


# -- models --------------------------------------------------------------------------------------


async def test_plain_output_streams_and_sums_up(aixgo: Any) -> None:
    async with fake_provider(Say("All will be well.", drip=0.02)) as provider:
        file = aixgo.write("agents.yaml", desk(provider.base_url))
        code, out, err = await finished(aixgo, "run", file, "--input", "help me")

    assert (code, err) == (0, "")
    # a busy machine is also told that the model takes its time
    lines = [line for line in out.splitlines() if line != "   waiting for the model…"]
    assert lines[0] == "── input: help me"
    assert lines[1] == "   front → desk"
    assert lines[2] == "   desk ┆ All will be well."
    assert lines[3].startswith("   desk: ")
    assert "tokens · cost unknown · " in lines[-1]
    assert out.count("All will be well.") == 1


async def test_a_terminal_gets_a_live_tree_and_keeps_the_answer(aixgo: Any) -> None:
    screen, terminal = pty.openpty()
    shown = bytearray()
    async with fake_provider(Say("All will be well.", drip=0.1)) as provider:
        file = aixgo.write("agents.yaml", desk(provider.base_url))
        process = await asyncio.create_subprocess_exec(
            *aixgo.command,
            *("run", file, "--input", "help me"),
            stdout=terminal,
            stderr=asyncio.subprocess.PIPE,
            cwd=aixgo.folder,
            env={**aixgo.env, "TERM": "xterm"},
        )
        os.close(terminal)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.to_thread(_read_all, screen, shown)
            assert await process.wait() == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""
    os.close(screen)

    live, kept = shown.decode().split("\x1b[?25h")  # the cursor comes back when the tree ends
    live, kept = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text) for text in (live, kept))
    assert "◌ desk All will" in live
    assert "● front" in kept
    assert "All will be well." in kept
    assert "cost unknown" in kept


def _read_all(descriptor: int, into: bytearray) -> None:
    with contextlib.suppress(OSError):  # how Linux says that the other side is closed
        while chunk := os.read(descriptor, 65_536):
            into.extend(chunk)


@pytest.mark.long
async def test_slow_models_are_announced(aixgo: Any) -> None:
    async with fake_provider(Say("Late.", delay=1.5)) as provider:
        file = aixgo.write("agents.yaml", desk(provider.base_url))
        _, out, _ = await finished(aixgo, "run", file, "--input", "help me")

    assert "   waiting for the model…\n" in out


async def test_a_failed_run_ends_with_1_and_the_others_still_run(aixgo: Any) -> None:
    async with fake_provider(Say("Fine.")) as provider:
        provider.will(Fail(400, message="no such thing"))
        file = aixgo.write("agents.yaml", desk(provider.base_url))
        code, out, err = await finished(aixgo, "run", file, "-i", "one", "-i", "two", "--json")

    first, second = map(json.loads, out.splitlines())
    assert (code, err) == (1, "")
    assert first["status"] == "error"
    assert first["error"]["code"] == "remote"
    assert "no such thing" in first["error"]["message"]
    assert second["text"] == "Fine."


@pytest.mark.long
async def test_text_of_a_model_cannot_steer_the_terminal(aixgo: Any) -> None:
    async with fake_provider(Say("red \x1b[31malert\x07")) as provider:
        file = aixgo.write("agents.yaml", desk(provider.base_url))
        _, out, _ = await finished(aixgo, "run", file, "--input", "help me")

    assert "\x1b" not in out
    assert "\x07" not in out
    assert "red \\x1b[31malert\\x07" in out


async def test_ctrl_c_cancels_the_run_closes_the_models_socket_and_ends_with_130(
    aixgo: Any,
) -> None:
    async with fake_provider(Say("never", hang=True)) as provider:
        file = aixgo.write("agents.yaml", desk(provider.base_url, "stream: false,"))
        process = await asyncio.create_subprocess_exec(
            *aixgo.command,
            *("run", file, "--input", "help me"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=aixgo.folder,
            env=aixgo.env,
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            received = await provider.received()
            process.send_signal(signal.SIGINT)
            await received.hung_up.wait()
            _, err = await process.communicate()

    assert process.returncode == 130
    assert b"Traceback" not in err


# -- events --------------------------------------------------------------------------------------

PIPELINE = """\
version: 2
agents:
  - {name: ticks, role: producer, template: "tick {n}", interval: 10ms, count: 3}
  - {name: first, role: logger, inputs: [{source: ticks}]}
  - {name: second, role: logger, inputs: [{source: ticks}]}
"""


def test_without_an_input_events_flow_to_every_subscriber_until_a_signal(
    aixgo: Any, started: Any
) -> None:
    file = aixgo.write("agents.yaml", PIPELINE)
    process = started(["run", file, "--json"])
    seen: dict[str, set[str]] = {"first": set(), "second": set()}
    for line in process.stderr:
        record = json.loads(line)
        if record["message"] == "event.logged":
            seen[record["agent"]].add(record["payload"])
        if all(len(payloads) == 3 for payloads in seen.values()):
            break
    process.send_signal(signal.SIGTERM)

    assert process.wait(30) == 0
    assert seen["first"] == seen["second"]
    assert len(seen["first"]) == 3


def test_without_producers_there_is_nothing_to_run(aixgo: Any) -> None:
    done = aixgo("run", aixgo.write("agents.yaml", ECHO))

    assert done.returncode == 2
    assert "no agent of agents.yaml produces events" in done.stderr


# -- brokers -------------------------------------------------------------------------------------


def test_a_broker_that_makes_no_sense_is_refused(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    done = aixgo("run", file, "-i", "x", "--broker", "kafka://x")

    assert done.returncode == 2
    assert "is not a broker; write `memory`, `embedded` or an address" in done.stderr
    assert aixgo("run", file, "-i", "x", "--store", "s").returncode == 2


def test_a_server_that_does_not_answer_ends_with_1(aixgo: Any) -> None:
    file = aixgo.write("agents.yaml", ECHO)
    done = aixgo("run", file, "-i", "x", "--broker", "nats://127.0.0.1:1")

    assert done.returncode == 1
    assert done.stderr.startswith("no NATS server answered at nats://127.0.0.1:1")
    assert "Traceback" not in done.stderr
