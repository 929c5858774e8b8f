"""`aixgo runs`: what a person sees of runs on a real server, and does to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, App, Context, Message, System
from aixgo.envelope import new_id
from aixgo.errors import Cancelled, ModelTimeout
from aixgo.models import ChatRequest
from aixgo.models.scripted import ScriptedModel
from aixgo.runs import RunStatus
from aixgo.subjects import PARKED
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo.tools import tool

pytestmark = pytest.mark.nats

Cli = Callable[..., Awaitable[Any]]


async def writer(message: Message, ctx: Context) -> str:
    if ctx.attempt == 1:
        raise ModelTimeout("the first try fails")
    return (await ctx.model.chat(f"write {message.text}")).text


@tool(effect="once", timeout=0.5)
async def pay(amount: int) -> str:
    """Pay.

    Args:
        amount: how much.
    """
    if amount < 0:
        raise ConnectionError("connection reset by peer")
    return f"paid {amount}"


async def cashier(message: Message, ctx: Context) -> str:
    return str(await ctx.tool("pay", {"amount": int(message.text)}))


async def echo(message: Message) -> str:
    return message.text


async def publish(message: Message, ctx: Context) -> str:
    draft = await ctx.call("writer", message.text)
    answer = await ctx.ask_human({"publish": draft.text}, options=["yes", "no"])
    return f"{draft.text}: {answer}"


class Stage:
    """A system on a server, and the command line beside it."""

    def __init__(self, aixgo: Any, system: System, asked: list[ChatRequest]) -> None:
        self._aixgo, self.system, self.asked = aixgo, system, asked
        self._runs = system.runs

    async def __call__(self, *arguments: str) -> Any:
        """Run `aixgo` to its end in a thread, so that the system goes on."""
        return await asyncio.to_thread(self._aixgo, *arguments)

    async def json(self, *arguments: str) -> Any:
        """Return the only value that a command writes as JSON."""
        done = await self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def parked_run(self, text: str = "a poem") -> str:
        """Begin a run and return its id when it waits for its answer."""
        run = await self.system.send("publish", text, timeout=3600)
        await self.until(run, "parked")
        return run

    async def until(self, run: str, status: RunStatus) -> None:
        async def reached() -> bool:
            return (await self._runs.tree(run)).status == status

        await eventually(reached)


@pytest.fixture
def staged(aixgo: Any, nats_server: NatsServer) -> Callable[[], Any]:
    """Return `staged()`: the system, in a namespace that the command line knows."""

    @asynccontextmanager
    async def stage() -> AsyncIterator[Stage]:
        namespace = f"t{new_id()[-12:]}"
        aixgo.environment = {"AIXGO_BROKER": nats_server.url, "AIXGO_NAMESPACE": namespace}
        quick = {"initial_backoff": 0.05, "max_backoff": 0.1}
        agents = [
            Agent("writer", writer, model="scripted/any", retry=quick),
            Agent("publish", publish),
            Agent("echo", echo),
            Agent("cashier", cashier, tools=[pay]),
        ]
        asked: list[ChatRequest] = []

        def answer(request: ChatRequest) -> str:
            asked.append(request)
            return request.messages[-1].text

        model = ScriptedModel([answer], repeat=True)
        app = App(agents, namespace=namespace, model=model)
        async with app.running(broker=nats_server.url, grace=2.0) as system:
            try:
                yield Stage(aixgo, system, asked)
            finally:
                await system.stop(2.0)
                for stream in await system.broker.stream_names():
                    if f"aixgo-{namespace}" in stream:
                        await system.broker.delete_stream(stream)

    return stage


async def test_a_run_is_listed_shown_and_answered(staged: Any) -> None:
    async with staged() as aixgo:
        assert (await aixgo("runs", "ls")).stdout == "no runs\n"
        run = await aixgo.parked_run()

        listed = await aixgo.json("runs", "ls", "--status", "parked")
        assert (listed["run_id"], listed["agent"], listed["status"]) == (run, "publish", "parked")
        assert run in (await aixgo("runs", "ls")).stdout

        shown = (await aixgo("runs", "show", run)).stdout
        assert f"run {run} · publish · parked" in shown
        assert "● writer writer/1  2 attempts" in shown
        assert "attempt 1 failed, again in" in shown
        assert "model_timeout: the first try fails" in shown
        assert "● model writer/1/model/1" in shown
        assert '{"publish":"write a poem"} (yes | no)' in shown
        assert f"aixgo runs answer {run} … --step ask/1" in shown

        refused = await aixgo("runs", "answer", run, "perhaps")
        assert refused.returncode == 1
        assert "choose one of: yes, no" in refused.stderr
        assert (await aixgo("runs", "answer", run, "yes")).stdout == f"{run} goes on\n"
        await aixgo.until(run, "done")
        tree = await aixgo.json("runs", "show", run)
        (root,) = tree["steps"]
        assert (tree["status"], tree["usage"]["model_calls"]) == ("done", 1)
        assert [step["kind"] for step in root["steps"]] == ["call", "ask"]
        assert {record["what"] for record in tree["history"]} >= {"failed", "parked", "woken"}


async def test_a_run_is_followed_from_its_past_to_its_end(staged: Any, started: Any) -> None:
    async with staged() as aixgo:
        run = await aixgo.parked_run()
        process = started(["runs", "tail", run])
        assert process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any("▸ publish" in line for line in lines):  # all that was before
                lines.append(await asyncio.to_thread(process.stdout.readline))
            await aixgo.system.answer(run, "no")
            lines += (await asyncio.to_thread(process.stdout.read)).splitlines()
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert lines[-2].startswith(f"run {run} · publish · done")
        assert lines[-1] == "result: write a poem: no"
        for words in ("● writer writer/1", "↻ writer writer/1  attempt 1 failed", "● publish  "):
            assert len([line for line in lines if words in line]) == 1, (words, lines)

        again = await aixgo("runs", "tail", run, "--json")
        events = [json.loads(line) for line in again.stdout.splitlines()]
        assert {event["event"] for event in events} == {"history", "step"}
        assert events[-1]["step"] == ""


async def test_a_run_is_cancelled_once(staged: Any) -> None:
    async with staged() as aixgo:
        run = await aixgo.parked_run()
        first = await aixgo("runs", "cancel", run, "--reason", "not today")
        assert (first.returncode, first.stdout) == (0, f"{run} cancelled\n")
        with pytest.raises(Cancelled, match="not today"):
            await aixgo.system.result("publish", run, timeout=PATIENCE_SECONDS)
        finished = await aixgo.parked_run("another")
        await aixgo.system.answer(finished, "yes")
        await aixgo.until(finished, "done")
        second = await aixgo("runs", "cancel", finished)
        assert second.returncode == 1
        assert "was over before (done)" in second.stdout
        third = await aixgo("runs", "cancel", run)
        assert (third.returncode, "was over before (cancelled)" in third.stdout) == (1, True)
        assert (await aixgo("runs", "tail", run)).returncode == 1


async def test_a_run_is_forked_from_one_of_its_steps(staged: Any) -> None:
    async with staged() as aixgo:
        run = await aixgo.parked_run()
        await aixgo.system.answer(run, "yes")
        await aixgo.until(run, "done")
        stepless = await aixgo.system.call("echo", "a note")
        lost = await aixgo("runs", "fork", stepless.run_id)
        assert lost.returncode == 1
        assert f"the input of run {stepless.run_id} is not kept" in lost.stderr
        forked = await aixgo.json("runs", "fork", run, "--from", "ask/1")
        assert (forked["agent"], forked["forked_from"]) == ("publish", run)
        await aixgo.until(forked["run_id"], "parked")
        await aixgo("runs", "answer", forked["run_id"], "--data", '"no"')
        result = await aixgo.system.result("publish", forked["run_id"], timeout=PATIENCE_SECONDS)
        assert result.text == "write a poem: no"
        tree = await aixgo.json("runs", "show", forked["run_id"])
        assert tree["usage"]["model_calls"] == 0
        assert tree["input"] == "a poem"
        assert tree["history"][0]["detail"] == f"from ask/1 of run {run}"


async def test_the_rest_of_a_run_is_made_with_another_prompt_and_model(
    staged: Any, tmp_path: Path
) -> None:
    async with staged() as aixgo:
        run = await aixgo.parked_run()
        await aixgo.system.answer(run, "yes")
        await aixgo.until(run, "done")
        words = tmp_path / "words.txt"
        words.write_text("Rhyme.")
        forked = await aixgo.json(
            *("runs", "fork", run, "--from", "writer/1/model/1"),
            *("--model", "scripted/large", "--prompt", f"@{words}"),
        )
        await aixgo.until(forked["run_id"], "parked")
        assert aixgo.asked[-1].model == "scripted/large"
        assert aixgo.asked[-1].messages[0].text == "Rhyme."
        await aixgo("runs", "answer", forked["run_id"], "yes")
        await aixgo.until(forked["run_id"], "done")
        assert [request.model for request in aixgo.asked] == ["scripted/any", "scripted/large"]
        shown = (await aixgo("runs", "show", forked["run_id"])).stdout
        assert "\ninput: a poem\n" in shown
        detail = f"forked: from writer/1/model/1 of run {run}, model scripted/large for writer"
        assert detail in shown

        later = await aixgo.json("runs", "fork", forked["run_id"], "--from", "ask/1")
        await aixgo.until(later["run_id"], "parked")
        shown = (await aixgo("runs", "show", later["run_id"])).stdout
        assert "● writer writer/1  reused" in shown
        assert len(aixgo.asked) == 2
        refused = await aixgo("runs", "fork", run, "--model", "large")
        assert refused.returncode == 2
        assert "'large' names no provider" in refused.stderr


async def test_values_are_shown_cut_and_whole(staged: Any) -> None:
    async with staged() as aixgo:
        text = ("a poem of " + "many words " * 60).strip()
        detached = await aixgo("call", "publish", text, "--detach")
        run = detached.stdout.strip()
        assert (detached.returncode, len(run)) == (0, 32)
        await aixgo.until(run, "parked")
        await aixgo.system.answer(run, "yes")
        await aixgo.until(run, "done")

        cut = (await aixgo("runs", "show", run)).stdout
        assert "\nresult: write a poem of many words" in cut
        assert f"write {text}: yes" not in cut
        assert "→ yes" in cut
        assert "→ write a poem of many" in cut
        for verb in ("show", "tail"):
            assert f"write {text}: yes" in (await aixgo("runs", verb, run, "--full")).stdout
        tree = await aixgo.json("runs", "show", run)
        assert (tree["result"], tree["input"]) == (f"write {text}: yes", text)
        assert [one["value"] for one in tree["steps"][0]["steps"]] == [f"write {text}", "yes"]


async def test_a_value_in_the_object_store_is_read_when_it_is_shown_whole(staged: Any) -> None:
    async with staged() as aixgo:
        large = "x" * 200_000
        run = (await aixgo.system.call("echo", large)).run_id
        assert "bytes in the object store; see --full)" in (await aixgo("runs", "show", run)).stdout
        assert large in (await aixgo("runs", "show", run, "--full")).stdout
        assert (await aixgo.json("runs", "show", run))["result"] == large


async def test_a_fork_and_where_it_came_from_are_compared_step_by_step(staged: Any) -> None:
    async with staged() as aixgo:
        run = await aixgo.parked_run()
        await aixgo.system.answer(run, "yes")
        await aixgo.until(run, "done")
        fork = (await aixgo.json("runs", "fork", run, "--from", "ask/1"))["run_id"]
        await aixgo.until(fork, "parked")
        await aixgo.system.answer(fork, "no")
        await aixgo.until(fork, "done")

        found = await aixgo.json("runs", "diff", run, fork)
        changes = {one["step"]: one["change"] for one in found["steps"]}
        assert changes == {
            "": "changed",
            "writer/1": "reused",
            "writer/1/model/1": "reused",
            "ask/1": "changed",
        }
        shown = (await aixgo("runs", "diff", run, fork)).stdout
        assert "~ publish  changed\n    write a poem: yes │ write a poem: no\n" in shown
        assert "↺ writer writer/1  reused\n    write a poem\n" in shown
        assert "~ ask ask/1  changed\n    yes │ no\n" in shown
        assert shown.splitlines()[-1] == "2 reused · 2 changed"
        shown = (await aixgo("runs", "diff", fork, run, "--full")).stdout
        assert "    - write a poem: no\n    + write a poem: yes\n" in shown


async def test_a_fork_pays_again_only_when_that_is_meant(staged: Any) -> None:
    async with staged() as aixgo:
        run = (await aixgo.system.call("cashier", "12")).run_id
        refused = await aixgo("runs", "fork", run)
        assert refused.returncode == 1
        assert "--repeat-effects" in refused.stderr
        forked = await aixgo.json("runs", "fork", run, "--repeat-effects")
        await aixgo.until(forked["run_id"], "done")


async def test_an_answer_that_does_not_fit_the_tool_is_refused_and_the_run_goes_on(
    staged: Any,
) -> None:
    async with staged() as aixgo:
        run = await aixgo.system.send("cashier", "-1", timeout=3600)
        await eventually(lambda: aixgo.system.questions(run))
        wrong = await aixgo("runs", "answer", run, "--data", '{"done": 12}')
        assert wrong.returncode != 0
        assert "done" in wrong.stderr
        right = await aixgo("runs", "answer", run, "--data", '{"done": "receipt"}')
        assert right.returncode == 0, right.stderr
        await aixgo.until(run, "done")
        assert "receipt" in (await aixgo("runs", "show", run)).stdout


async def test_records_of_other_programs_are_left_out_and_named_in_one_line(staged: Any) -> None:
    async with staged() as aixgo:
        run = await aixgo.parked_run()
        system = aixgo.system
        prefix, bucket = system.names.prefix, system.names.bucket(PARKED)
        for n in range(4):
            await system.broker.append(f"{prefix}dlq.CALLS.call.echo.g{n}.root", b"{}")
            await system.broker.append(f"$KV.{bucket}.p{n}.root", b"\xff")
        for verb in (("dlq", "ls"), ("runs", "ls")):
            done = await aixgo(*verb)
            assert done.returncode == 0, done.stderr
            assert done.stderr.count("\n") == 1, done.stderr
            assert "records could not be read and were left out: " in done.stderr
            assert " more (subject and sequence)" in done.stderr
            assert verb[0] == "dlq" or run in done.stdout
        assert "4 records" in (await aixgo("dlq", "ls")).stderr
        assert f"{bucket}.p0.root" in (await aixgo("runs", "ls")).stderr


async def test_the_beginning_of_an_id_is_enough_when_only_one_run_has_it(staged: Any) -> None:
    async with staged() as aixgo:
        for run in ("apple-pie", "apple-cake", "apple"):
            await aixgo.system.call("echo", run, run_id=run)
        assert (await aixgo.json("runs", "show", "apple-p"))["run_id"] == "apple-pie"
        assert (await aixgo.json("runs", "show", "apple"))["run_id"] == "apple"
        several = await aixgo("runs", "tail", "apple-")
        assert (several.returncode, several.stdout) == (2, "")
        first, *listed = several.stderr.splitlines()
        assert first.startswith("'apple-' is the beginning of 2 run ids; give more of the id")
        assert sorted(line.split()[0] for line in listed) == ["apple-cake", "apple-pie"]
        assert (await aixgo("runs", "cancel", "pear")).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["ls"], 2, "give --broker nats://host:4222, or set AIXGO_BROKER"),
        (["ls", "--broker", "memory"], 2, "other processes reach, not 'memory'"),
        (["ls", "--status", "doen", "--broker", "URL"], 2, "did you mean 'done'?"),
        (["show", "0" * 32, "--broker", "URL"], 1, "run `aixgo provision FILE`"),
        (["answer", "x", "--broker", "URL"], 2, "either as TEXT or as --data JSON"),
        (["answer", "x", "--data", "yes", "--broker", "URL"], 2, "text needs its quotes"),
        (["fork", "x", "--data", "@gone.json", "--broker", "URL"], 2, "gone.json: cannot be read"),
        (
            ["fork", "x", "--prompt", "@gone.txt", "--broker", "URL"],
            2,
            "--prompt @gone.txt: cannot",
        ),
        (["fork", "x", "--timeout", "soon", "--broker", "URL"], 2, "--timeout: not a duration"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    aixgo: Any, nats_server: NatsServer, arguments: list[str], code: int, reason: str
) -> None:
    done = aixgo("runs", *(nats_server.url if one == "URL" else one for one in arguments))

    assert done.returncode == code
    assert reason in done.stderr
