"""Ids: unique, ordered by time, and never shared by two processes; run ids become trace ids."""

from __future__ import annotations

import multiprocessing
import re
import time
import uuid
import warnings

import pytest

from aixgo.envelope import new_id
from aixgo.telemetry import tracing
from aixgo.telemetry.tracing import root_context

TRACEPARENT = re.compile("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


def test_ids_are_uuids_of_version_7_with_their_time_in_front() -> None:
    for _ in range(1000):
        before = time.time_ns() // 1_000_000
        found = uuid.UUID(new_id())
        after = time.time_ns() // 1_000_000
        assert (found.version, found.variant) == (7, uuid.RFC_4122)
        assert before <= found.int >> 80 <= after


def test_no_two_ids_are_equal_and_no_digit_is_always_the_same() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    random_places = [*range(13, 16), *range(17, 32)]
    assert all(len({one[place] for one in ids}) == 16 for place in random_places)
    assert {one[16] for one in ids} == set("89ab")


def _ids_of_a_child(pipe: multiprocessing.connection.Connection) -> None:
    pipe.send([new_id() for _ in range(300)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_forked_process_does_not_repeat_its_parents_ids() -> None:
    new_id()  # there is randomness left that a child could inherit
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, since 3.12
        child = context.Process(target=_ids_of_a_child, args=(theirs,))
        child.start()
    assert mine.poll(10.0)
    random_parts = {one[17:] for one in mine.recv()}
    child.join(10.0)
    assert random_parts.isdisjoint({new_id()[17:] for _ in range(300)})


def test_a_run_id_is_the_trace_id_of_its_run() -> None:
    run = new_id()
    assert root_context(run)[3:35] == run
    assert TRACEPARENT.fullmatch(root_context(run))


@pytest.mark.parametrize("run", ["order-17", "A" * 32, "0123456789abcdef" * 2, "x"])
def test_any_run_id_gives_a_valid_and_stable_trace_context(run: str) -> None:
    assert TRACEPARENT.fullmatch(root_context(run))
    assert root_context(run) == root_context(run)
    assert root_context(run) != root_context(run[::-1] + "-")


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("02", False), ("ff", True)]
)
def test_the_lowest_bit_of_the_flags_says_whether_a_trace_is_recorded(
    flags: str, sampled: bool
) -> None:
    run = new_id()
    assert tracing.sampled(f"00-{run}-{run[16:]}-{flags}") is sampled
    assert not tracing.sampled("")
