"""The state that the agents of a run share: durable, and the same in every execution."""

from __future__ import annotations

from typing import Any

import pytest

from aixgo import Agent, Context, Message
from aixgo.errors import ModelTimeout, RemoteError
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS

QUICK = {"initial_backoff": 0.05, "max_backoff": 0.1}


async def test_agents_of_a_run_share_values_and_other_runs_do_not(running: Running) -> None:
    async def inner(message: Message, ctx: Context) -> Any:
        before = await ctx.state.get("order")
        await ctx.state.set("order", {"n": 2})
        return before

    async def outer(message: Message, ctx: Context) -> Any:
        found = [await ctx.state.get("order", "none")]
        await ctx.state.set("order", {"n": 1})
        found.append((await ctx.call("inner")).data)
        return [*found, await ctx.state.get("order"), await ctx.state.get("other key")]

    async with running(Agent("inner", inner), Agent("outer", outer)) as system:
        for _ in range(2):
            assert (await system.call("outer")).data == ["none", {"n": 1}, {"n": 2}, None]


async def test_compare_and_set_says_who_was_first(running: Running) -> None:
    async def flow(message: Message, ctx: Context) -> list[bool]:
        state = ctx.state
        return [
            await state.compare_and_set("k", None, "a"),
            await state.compare_and_set("k", None, "b"),
            await state.compare_and_set("k", "a", ["b"]),
            await state.compare_and_set("k", ["b"], None),
            await state.compare_and_set("k", None, "c"),
        ]

    async with running(Agent("flow", flow)) as system:
        assert (await system.call("flow")).data == [True, False, True, True, True]


async def test_branches_that_count_at_once_lose_nothing(running: Running) -> None:
    async def vote(message: Message, ctx: Context) -> Any:
        return await ctx.state.update("votes", lambda votes: [*(votes or []), message.data])

    async def flow(message: Message, ctx: Context) -> Any:
        await ctx.gather(*(ctx.call("vote", number) for number in range(8)))
        return sorted(await ctx.state.get("votes"))

    async with running(Agent("vote", vote), Agent("flow", flow)) as system:
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).data == list(range(8))


async def test_a_repeated_execution_sees_and_does_the_same(running: Running) -> None:
    seen: list[list[Any]] = []

    async def other(message: Message, ctx: Context) -> None:
        await ctx.state.set("k", "other")

    async def flow(message: Message, ctx: Context) -> list[Any]:
        state = ctx.state
        found = [
            await state.compare_and_set("k", None, "mine"),
            await state.get("k"),
            await state.compare_and_set("k", "wrong", "never"),
        ]
        await ctx.call("other")
        found.append(await state.get("k"))
        await state.set("k", "last")
        seen.append(found)
        if ctx.attempt < 3:
            raise ModelTimeout("again")
        versions = await system.space.state.of_run(ctx.run_id)
        return [*found, len(versions)]

    async with running(Agent("other", other), Agent("flow", flow, retry=QUICK)) as system:
        wanted = [True, "mine", False, "other"]
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).data == [*wanted, 3]
        assert seen == [wanted] * 3


@pytest.mark.parametrize("moment", ["decided", "written"])
async def test_a_write_whose_process_died_is_done_once(
    running: Running, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[str] = []

    async def flow(message: Message, ctx: Context) -> list[Any]:
        return [
            await ctx.state.compare_and_set("k", None, "mine"),
            await ctx.state.get("k"),
        ]

    async with running(Agent("flow", flow, retry=QUICK)) as system:
        state = system.space.state
        write = state.write

        async def dies(run: str, version: Any) -> Any:
            if died:
                return await write(run, version)
            died.append(moment)
            if moment == "written":
                await write(run, version)
                # another step of the run goes on before this one is repeated
                await write(run, type(version)(key="k", number=2, by="else", value=version.value))
            raise ModelTimeout("dead")

        monkeypatch.setattr(state, "write", dies)
        assert (await system.call("flow", timeout=PATIENCE_SECONDS)).data == [True, "mine"]
        versions = await state.of_run((await system.runs.list())[0].run_id)
        assert len(versions) == (1 if moment == "decided" else 2)


async def test_what_cannot_be_kept_is_refused(running: Running) -> None:
    async def flow(message: Message, ctx: Context) -> None:
        await ctx.state.set(message.data["key"], message.data["value"])

    async with running(Agent("flow", flow)) as system:
        for key, value, problem in (
            ("k", "x" * 70_000, "over the limit of 65,536 bytes"),
            ("", 1, "cannot be a key"),
            ("k" * 129, 1, "1 to 128 characters"),
        ):
            with pytest.raises(RemoteError, match=problem):
                await system.call("flow", {"key": key, "value": value})
        await system.call("flow", {"key": "any text, * > . \u2028", "value": None})


async def test_a_fork_has_what_was_set_before_it(running: Running) -> None:
    async def note(message: Message, ctx: Context) -> None:
        await ctx.state.update("notes", lambda notes: [*(notes or []), message.data])

    async def flow(message: Message, ctx: Context) -> Any:
        await ctx.call("note", "one", key="first")
        await ctx.call("note", "two", key="second")
        return await ctx.state.get("notes")

    async with running(Agent("note", note), Agent("flow", flow)) as system:
        result = await system.call("flow")
        assert result.data == ["one", "two"]
        agent, run = await system.runs.fork(result.run_id, step="note/second")
        forked = await system.result(agent, run, timeout=PATIENCE_SECONDS)
        assert forked is not None
        assert forked.data == ["one", "two"]
