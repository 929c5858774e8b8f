"""Between two looks: a result that is stored while its caller begins to listen is not missed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from aixgo import Agent, Message, System
from aixgo.calls import caller
from aixgo.calls.results import result_of
from aixgo.calls.space import Space
from aixgo.clock import now
from aixgo.envelope import Envelope, new_id
from aixgo.subjects import CALLS
from aixgo.testing.local import Running
from aixgo.testing.waiting import PATIENCE_SECONDS


class StoredJustBefore:
    """A broker on which a result is stored a moment before its caller's subscription holds."""

    def __init__(self, system: System, result: Envelope) -> None:
        self._broker, self._result = system.broker, result
        self._results = system.space.results

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def subscribe(self, *arguments: Any, **options: Any) -> Any:
        await self._results.settle("idle", self._result)
        return await self._broker.subscribe(*arguments, **options)


async def test_a_result_that_is_stored_while_its_caller_begins_to_listen_is_seen_at_once(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "LOOK_SECONDS", 2 * PATIENCE_SECONDS)

    async def idle(message: Message) -> str:
        raise AssertionError("it has its result; nobody is called")

    async with running(Agent("idle", idle)) as system:
        request = Envelope(
            id=new_id(),
            kind="call",
            target="idle",
            run=new_id(),
            deadline=now() + 3 * PATIENCE_SECONDS,
        )
        result = result_of(request, "idle", "done", payload=msgspec.Raw(b'"there"'))
        waiting = caller.Caller(Space(StoredJustBefore(system, result), system.names))
        async with asyncio.timeout(PATIENCE_SECONDS):
            found = await waiting.call(request, look=True)
        assert found.body == b'"there"'
        calls = system.names.stream(CALLS)
        assert await system.broker.read(calls, system.names.calls_in(request.run)) == []
