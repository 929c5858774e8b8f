"""Pauses double up to the longest one, and those with jitter are spread over their second half."""

from __future__ import annotations

import asyncio

import pytest

from aixgo.pauses import Pauses


def test_each_pause_is_twice_as_long_up_to_the_longest() -> None:
    pauses = Pauses(0.5, 3.0)
    assert [pauses.take() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    pauses.reset()
    assert (pauses.next, pauses.take(), pauses.next) == (0.5, 0.5, 1.0)


def test_jitter_spreads_a_pause_over_its_second_half() -> None:
    first = [Pauses(8.0, 8.0, jitter=True).take() for _ in range(400)]
    assert 4.0 <= min(first) < 4.5
    assert 7.5 < max(first) <= 8.0
    pauses = Pauses(1.0, 4.0, jitter=True)
    taken = [(pauses.next, pauses.take()) for _ in range(4)]
    assert [most for most, _ in taken] == [1.0, 2.0, 4.0, 4.0], "it doubles whatever was drawn"
    assert all(most / 2 <= seconds <= most for most, seconds in taken)


@pytest.mark.virtual_time
async def test_waiting_takes_the_next_pause() -> None:
    loop, pauses = asyncio.get_running_loop(), Pauses(2.0, 4.0)
    for seconds in (2.0, 4.0, 4.0):
        began = loop.time()
        await pauses.wait()
        assert loop.time() - began == pytest.approx(seconds)
