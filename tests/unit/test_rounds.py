"""What looks after a stream goes on after any error, and not where it is not allowed."""

from __future__ import annotations

import asyncio

import pytest

from aixgo.calls.upkeep.rounds import make_rounds
from aixgo.errors import Disconnected, PermissionDenied

pytestmark = pytest.mark.virtual_time


class Keeper:
    """Looks three times, and fails as it is told."""

    what = "things"
    pause, calm = 1.0, 7.0

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = list(errors)
        self.looks: list[float] = []

    async def look(self) -> None:
        self.looks.append(asyncio.get_running_loop().time())
        if error := self._errors.pop(0):
            raise error
        self.pause = 2.0


async def looks(keeper: Keeper, seconds: float) -> list[float]:
    """Return when it looked, counted from its beginning."""
    began = asyncio.get_running_loop().time()
    task = asyncio.ensure_future(make_rounds(keeper))
    await asyncio.wait({task}, timeout=seconds)
    task.cancel()
    await asyncio.wait({task})
    return [moment - began for moment in keeper.looks]


async def test_each_look_says_when_the_next_one_is(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper(None, Disconnected("away"), RuntimeError("a bug"), None, None)
    assert await looks(keeper, 20) == pytest.approx([1, 3, 10, 17, 19])
    told = [vars(one)["error"] for one in caplog.records if one.message == "things.not_swept"]
    assert told == ["disconnected", "RuntimeError"]


async def test_where_it_is_not_allowed_it_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper(PermissionDenied("not here"))
    assert await looks(keeper, 60) == pytest.approx([1])
    assert [one.message for one in caplog.records] == ["things.not_swept_here"]
