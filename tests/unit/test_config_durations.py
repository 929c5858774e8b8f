"""Durations as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from aixgo.config.durations import (
    LONGEST,
    SHORTEST,
    Duration,
    PositiveDuration,
    format_duration,
    no_or_some_time,
    parse_duration,
    some_time,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("2d", 172_800.0),
        ("40us", 0.00004),
        ("45", 45.0),
        (45, 45.0),
        (0.5, 0.5),
    ],
)
def test_a_duration_is_seconds(written: str | float, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "s", "10 parsecs", "-1s", "1h30", "1s2", True, None, []])
def test_anything_else_is_refused_with_the_way_to_write_it(written: object) -> None:
    with pytest.raises(ValueError, match="write 30s, 5m, 1h30m or 250ms"):
        parse_duration(written)


def test_a_number_beyond_every_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be that long"):
        parse_duration(10**400)


@pytest.mark.parametrize("written", ["0s", 0, "1us", 1e-9, "3651d", 1e300, "9" * 30 + "d"])
def test_a_time_to_wait_for_is_between_1_ms_and_10_years(written: str | float) -> None:
    assert (some_time("1ms"), some_time("3650d")) == (0.001, LONGEST)
    with pytest.raises(ValueError, match=r"give 1ms or more, up to 3650d \(10 years\)"):
        some_time(written)


def test_no_time_is_taken_where_it_means_something() -> None:
    assert (no_or_some_time("0s"), no_or_some_time("1ms")) == (0.0, 0.001)
    with pytest.raises(ValueError, match="1us is not a time to wait for; give 0s, or 1ms"):
        no_or_some_time("1us")


@given(st.floats(min_value=0, max_value=10_000_000))
def test_a_duration_written_and_read_again_is_what_it_was(seconds: float) -> None:
    shown = parse_duration(format_duration(seconds))

    exact = 0.5 if seconds >= 60 else 0.005 if seconds >= 1 else 0.0005
    assert shown == pytest.approx(seconds, abs=exact * 1.001)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59))
def test_whole_hours_minutes_and_seconds_round_trip_exactly(h: int, m: int, s: int) -> None:
    assert parse_duration(format_duration(h * 3600 + m * 60 + s)) == h * 3600 + m * 60 + s


@pytest.mark.parametrize("kind", [Duration, PositiveDuration], ids=["may be 0", "not 0"])
def test_the_schema_names_the_limits(kind: Any) -> None:
    schema = TypeAdapter(kind).json_schema()
    assert {"type": "number", "minimum": SHORTEST, "maximum": LONGEST} in schema["anyOf"]
    assert "1ms or more, up to 3650d (10 years)" in schema["description"]
    assert ({"const": 0} in schema["anyOf"]) == (kind is Duration)
