"""Subjects and filters of the memory broker, against definitions that fit on a line."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.broker import BusMessage, Record, StreamConfig
from aixgo.broker.memory import MemoryBroker, MemoryServer
from aixgo.broker.memory.matching import (
    MAX_SUBJECT_BYTES,
    Memo,
    PatternTree,
    SubjectTree,
    check_filter,
    check_subject,
    is_wild,
    matches,
    overlap,
)
from aixgo.broker.memory.records import SHORT_SCAN, Records, size_of
from aixgo.errors import BadSubject

tokens = st.sampled_from(["a", "b", "c"])
subjects = st.lists(tokens, min_size=1, max_size=4).map(".".join)
patterns = st.tuples(
    st.lists(st.sampled_from(["a", "b", "c", "*"]), max_size=3), st.sampled_from(["a", "*", ">"])
).map(lambda parts: ".".join([*parts[0], parts[1]]))


def defined(pattern: str, subject: str) -> bool:
    """Return whether they match by the definition, written as a regular expression."""
    expression = re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", ".+")
    return re.fullmatch(expression, subject) is not None


@given(patterns, subjects)
def test_a_star_is_one_token_and_a_tail_is_one_or_more(pattern: str, subject: str) -> None:
    assert matches(pattern, subject) == defined(pattern, subject)


@given(patterns, patterns)
def test_overlap_is_symmetric_and_found_by_some_subject(one: str, other: str) -> None:
    assert overlap(one, other) == overlap(other, one)
    # the longest literal parts decide, so filling the wildcards of one from the other suffices
    filled = [
        first if first not in "*>" else second if second not in "*>" else "a"
        for first, second in zip(
            one.split(".") + ["*"] * 4, other.split(".") + ["*"] * 4, strict=False
        )
    ]
    candidates = [".".join(filled[:length]) for length in range(1, 6)]
    found = any(matches(one, each) and matches(other, each) for each in candidates)
    assert overlap(one, other) == found


@given(st.lists(patterns, max_size=8), subjects)
def test_a_pattern_tree_finds_what_matching_one_by_one_finds(kept: list[str], subject: str) -> None:
    tree: PatternTree[int] = PatternTree()
    for number, pattern in enumerate(kept):
        tree.add(pattern, number)
    wanted = [number for number, pattern in enumerate(kept) if matches(pattern, subject)]
    found, decided = tree.match(subject.split("."))
    assert sorted(found) == wanted
    assert decided <= len(subject.split("."))


@given(st.lists(patterns, max_size=8), st.lists(st.tuples(tokens, tokens, tokens, tokens)))
def test_what_is_remembered_by_stem_is_what_a_walk_finds(
    kept: list[str], asked: list[tuple[str, ...]]
) -> None:
    tree: PatternTree[int] = PatternTree()
    for number, pattern in enumerate(kept):
        tree.add(pattern, number)
    memo: Memo[list[int]] = Memo()
    for length in (1, 2, 3, 4):
        for each in asked:
            subject = ".".join(each[:length])
            found = memo.find(subject)
            if found is None:
                found, decided = tree.match(subject.split("."))
                memo.keep(subject, found, decided, length)
            wanted = [number for number, pattern in enumerate(kept) if matches(pattern, subject)]
            assert sorted(found) == wanted


def test_subjects_that_differ_at_their_end_share_one_memory() -> None:
    tree: PatternTree[str] = PatternTree()
    tree.add("call.worker.>", "worker")
    memo: Memo[list[str]] = Memo()
    for number in range(1000):
        subject = f"call.worker.run{number}.step"
        if memo.find(subject) is None:
            found, decided = tree.match(subject.split("."))
            assert found == ["worker"]
            memo.keep(subject, found, decided, 4)
    assert len(memo.exact) + len(memo._stems) == 1


def test_a_memo_is_bounded() -> None:
    memo: Memo[int] = Memo()
    for number in range(3 * Memo.LIMIT):
        memo.keep(f"subject{number}", number, 1, 1)
    assert len(memo.exact) <= Memo.LIMIT


@given(st.lists(patterns, max_size=8), subjects)
def test_a_pattern_tree_forgets_without_a_trace(kept: list[str], subject: str) -> None:
    tree: PatternTree[int] = PatternTree()
    for number, pattern in enumerate(kept):
        tree.add(pattern, number)
    for number, pattern in enumerate(kept):
        tree.remove(pattern, number)
    assert tree.match(subject.split("."))[0] == []
    assert tree._root.empty


@given(st.lists(subjects, max_size=12), patterns)
def test_a_subject_tree_finds_what_matching_one_by_one_finds(kept: list[str], pattern: str) -> None:
    tree = SubjectTree()
    for subject in kept:
        tree.add(subject)
    assert tree.size == len(set(kept))
    wanted = sorted(each for each in set(kept) if matches(pattern, each))
    assert sorted(tree.match(pattern)) == wanted


@given(
    st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "skip"]), subjects), max_size=40),
    patterns,
    st.integers(0, 30),
    st.integers(0, 5),
)
def test_records_are_selected_as_a_list_would_select_them(
    steps: list[tuple[str, str]], pattern: str, start: int, limit: int
) -> None:
    records, model = Records(), {}
    for step, subject in steps:
        if step == "add":
            record = Record("S", subject, records.last + 1, b"x")
            records.add(record, size_of(record))
            model[record.sequence] = record
        elif model:
            oldest = next(iter(model))
            assert records.remove(oldest) == model.pop(oldest)
        records.newest(pattern)  # builds the index early, so that it must be kept up to date
    wanted = [
        each for seq, each in model.items() if seq >= start and matches(pattern, each.subject)
    ]
    assert records.select(pattern, start, limit) == wanted[: limit or None]
    assert records.newest(pattern) == max(
        (seq for seq, each in model.items() if matches(pattern, each.subject)), default=0
    )
    assert records.first == (min(model) if model else records.last + 1)
    assert records.bytes == sum(map(size_of, model.values()))


def test_a_wildcard_over_many_records_finds_the_same_with_and_without_the_index() -> None:
    records = Records()
    for number in range(4 * SHORT_SCAN):
        record = Record("S", f"res.{number % 3}.run{number % 50}.{number}", number + 1, b"")
        records.add(record, size_of(record))
    for number in range(1, 3 * SHORT_SCAN, 7):
        records.remove(number)
    wanted = [
        each for each in records.by_sequence.values() if matches("res.*.run7.>", each.subject)
    ]
    assert len(wanted) > 10
    assert records.select("res.*.run7.>", 1) == wanted
    late = 4 * SHORT_SCAN - 20
    assert records.select("res.*.>", late) == [
        each for each in records.by_sequence.values() if each.sequence >= late
    ]


@pytest.mark.parametrize(
    "subject", ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\r\nPUB", "a\x00", "x" * 2000]
)
def test_a_malformed_subject_is_refused_everywhere(subject: str) -> None:
    with pytest.raises(BadSubject):
        check_filter(subject)
    with pytest.raises(BadSubject):
        check_subject(subject)


@pytest.mark.parametrize("subject", ["a.*", "*", ">", "a.>", "a.*.b"])
def test_one_can_subscribe_to_a_wildcard_but_not_publish_to_it(subject: str) -> None:
    check_filter(subject)
    assert is_wild(subject)
    with pytest.raises(BadSubject, match="wildcard"):
        check_subject(subject)


def test_a_star_inside_a_token_is_an_ordinary_character() -> None:
    check_subject("a.b*c")
    assert not is_wild("a.b*c")
    assert not matches("a.b*c", "a.bxc")


def test_the_limit_of_a_subject_is_in_bytes() -> None:
    check_subject("x" * MAX_SUBJECT_BYTES)
    with pytest.raises(BadSubject, match="1,025 bytes"):
        check_subject("x" * (MAX_SUBJECT_BYTES + 1))
    with pytest.raises(BadSubject, match="bytes"):
        check_subject("漢" * (MAX_SUBJECT_BYTES // 2))


async def test_a_remembered_route_follows_changes_of_wildcards() -> None:
    server = MemoryServer()
    async with MemoryBroker(server) as broker:
        seen: list[BusMessage] = []
        await broker.publish("a.b", b"before")  # the route is remembered: it leads nowhere
        subscription = await broker.subscribe("a.*", seen.append)
        await broker.publish("a.b", b"while")
        await broker.flush()
        await subscription.unsubscribe()
        await broker.publish("a.b", b"after")
        await broker.flush()
    assert [message.data for message in seen] == [b"while"]


async def test_streams_and_wildcards_decide_a_route_together() -> None:
    async with MemoryBroker(MemoryServer()) as broker:
        await broker.ensure_stream(StreamConfig(name="S", subjects=("s.a.keep.*",)))
        await broker.subscribe("s.>")
        await broker.publish("s.a.drop.1", b"")
        assert (await broker.append("s.a.keep.1", b"")).sequence == 1
