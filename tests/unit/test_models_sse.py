"""Server-sent events, as the standard has them, and however the network cuts them."""

from __future__ import annotations

import itertools
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.models.wires.sse import Event, SseParser

STREAM = (
    b'\xef\xbb\xbf: comment\nevent: x\ndata: {"a": 1}\n\n'
    b"data:tight\n\nid: 7\n\nretry: 10\ndata: two\ndata: lines\n\n\xc3\xa4\ndata: \xc3\xa4\n\n"
    b"data\n\ndata:\n\nevent: lost\n\ndata:  one blank goes\n\ndata: end"
)
EVENTS = [
    Event(b'{"a": 1}', "x"),
    Event(b"tight"),
    Event(b"two\nlines"),
    Event(b"\xc3\xa4"),
    Event(b" one blank goes"),
    Event(b"end", whole=False),
]


def parsed(stream: bytes, cuts: list[int]) -> list[Event]:
    """Return the events of a stream that comes in pieces."""
    parser = SseParser()
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = (stream[start:end] for start, end in itertools.pairwise(edges))
    return [*itertools.chain.from_iterable(map(parser.feed, pieces)), *parser.end()]


@given(st.lists(st.integers(0, 10_000), max_size=60), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_are_the_same_wherever_the_network_cuts_them(cuts: list[int], end: bytes) -> None:
    assert parsed(STREAM.replace(b"\n", end), cuts) == EVENTS


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=20))
def test_any_bytes_are_events_or_nothing_and_cuts_do_not_matter(
    stream: bytes, cuts: list[int]
) -> None:
    whole = parsed(stream, [])
    assert parsed(stream, cuts) == whole
    assert all(event.data.strip() for event in whole)


def test_a_line_of_its_own_with_an_error_is_an_event() -> None:
    assert parsed(b'data: a\nerror: {"code":1}\n', []) == [
        Event(b"a"),
        Event(b'{"code":1}', "error"),
    ]


def test_the_first_line_that_is_not_of_the_format_is_kept_for_the_error() -> None:
    parser = SseParser()
    parser.feed(b"upstream connect error\nmore\n")
    assert parser.stray == b"upstream connect error"


@pytest.mark.parametrize("piece", [512, 64])
def test_the_work_for_a_long_line_grows_with_its_length(piece: int) -> None:
    def seconds(size: int) -> float:
        parser = SseParser()
        started = process_time()
        parser.feed(b"data: ")
        for _ in range(size // piece):
            parser.feed(b"x" * piece)
        (event,) = parser.feed(b"\n\n")
        assert len(event.data) == size
        return process_time() - started

    small = min(seconds(1 << 19) for _ in range(3))
    large = min(seconds(1 << 23) for _ in range(2))
    assert large < 60 * small  # sixteen times is linear, 256 times is quadratic
