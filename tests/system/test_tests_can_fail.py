"""The tests of what must not jam, drop or be believed fail when the code behind them is broken.

Each sabotage takes one promise away and names the tests that must notice it; a test that cannot
fail proves nothing. They run on the memory broker, in virtual time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from aixgo import System
from aixgo.calls import caller, events
from aixgo.calls.foreign import Foreign
from aixgo.calls.room import Room
from aixgo.calls.tally import NOTHING, Tally
from aixgo.calls.upkeep.handled import Handled
from aixgo.envelope import Envelope, decode
from aixgo.errors import AixgoError, InvalidPayload
from aixgo.subjects import EVENTS
from aixgo.testing.local import run_local

from . import test_deaths as deaths
from . import test_events_full as full
from . import test_hostile as hostile
from . import test_room as room

pytestmark = pytest.mark.virtual_time

Patch = pytest.MonkeyPatch
Test = Callable[..., Awaitable[None]]
NOTICED = (AssertionError, AixgoError, TimeoutError, pytest.fail.Exception)

LONGEST_SECONDS = 1_000.0
"""Of virtual time for a test: some of them wait for ever when their promise is broken."""


dying = deaths.dying  # the fixture


def every_other_death_counts(patch: Patch) -> None:
    async def look(self: Tally, request: Envelope, deliveries: int) -> Any:
        tries = await as_usual(self, request, deliveries)
        return structs.replace(tries, stalled=tries.stalled // 2)

    as_usual = Tally.look
    patch.setattr(Tally, "look", look)


def steps_are_no_progress(patch: Patch) -> None:
    async def steps(self: Tally, request: Envelope) -> int:
        return 0

    patch.setattr(Tally, "_steps", steps)


def deaths_are_attempts(patch: Patch) -> None:
    async def look(self: Tally, request: Envelope, deliveries: int) -> Any:
        return NOTHING

    patch.setattr(Tally, "look", look)


def new_runs_may_fill_the_queue(patch: Patch) -> None:
    async def take(self: Room, stream: str, share: float, size: int) -> None:
        return

    patch.setattr(Room, "take", take)
    patch.setattr(Room, "begins", lambda self, size: True)
    patch.setattr(Room, "fits", lambda self, stream, share, size: True)


def events_drop_the_oldest(patch: Patch) -> None:
    async def shrink(system: System) -> None:
        info = await system.broker.stream_info(system.names.stream(EVENTS))
        assert info is not None
        config = replace(info.config, max_bytes=full.ROOM, discard="old")
        await system.broker.ensure_stream(config)

    patch.setattr(full, "shrink", shrink)


def handled_events_stay(patch: Patch) -> None:
    async def nothing(*about: Any) -> None:
        return

    patch.setattr(events, "_make_room", nothing)
    patch.setattr(Handled, "run", nothing)


def unreadable_records_are_not_named(patch: Patch) -> None:
    patch.setattr(Foreign, "add", lambda self, record: None)


def unreadable_records_end_the_look(patch: Patch) -> None:
    def add(self: Foreign, record: Any) -> None:
        raise InvalidPayload("it cannot be read")

    patch.setattr(Foreign, "add", add)


def a_live_result_is_believed(patch: Patch) -> None:
    def believed(request: Envelope, data: bytes) -> Envelope | None:
        try:
            result = decode(data)
        except InvalidPayload:
            return None
        return result if result.kind == "result" else None

    patch.setattr(caller, "_believed", believed)


SABOTAGES: dict[Callable[[Patch], None], list[Test]] = {
    every_other_death_counts: [deaths.test_deaths_have_a_limit_of_their_own],
    steps_are_no_progress: [deaths.test_progress_is_not_failure],
    deaths_are_attempts: [deaths.test_deaths_use_up_no_attempts],
    new_runs_may_fill_the_queue: [
        room.test_accepted_runs_end_when_the_queue_is_full_and_new_ones_are_refused,
        room.test_the_value_of_a_step_leaves_room_for_what_ends_runs,
    ],
    events_drop_the_oldest: [full.test_more_events_than_fit_all_reach_a_slow_subscriber],
    handled_events_stay: [full.test_events_that_everybody_handled_make_room_without_an_error],
    unreadable_records_are_not_named: [
        hostile.test_people_and_upkeep_skip_count_and_name_what_they_cannot_read,
        hostile.test_a_sweep_goes_on_over_what_it_cannot_read,
    ],
    unreadable_records_end_the_look: [
        hostile.test_people_and_upkeep_skip_count_and_name_what_they_cannot_read,
        hostile.test_a_sweep_goes_on_over_what_it_cannot_read,
    ],
    a_live_result_is_believed: [hostile.test_a_forged_live_result_is_not_believed],
}

CASES = [(sabotage, test) for sabotage, tests in SABOTAGES.items() for test in tests]


@pytest.mark.parametrize(
    ("sabotage", "test"), CASES, ids=[f"{one.__name__}-{test.__name__}" for one, test in CASES]
)
@pytest.mark.long(only=("test_accepted_runs_end",))
async def test_a_broken_promise_is_noticed(
    sabotage: Callable[[Patch], None], test: Test, dying: list[str], monkeypatch: Patch
) -> None:
    more = {"dying": dying} if "dying" in inspect.signature(test).parameters else {}
    sabotage(monkeypatch)
    with pytest.raises(NOTICED):
        async with asyncio.timeout(LONGEST_SECONDS):
            await test(running=run_local, **more)
