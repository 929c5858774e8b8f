"""`subjects.md` says exactly what the code builds and declares."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from aixgo import subjects
from aixgo.broker import StreamConfig, topology
from aixgo.envelope import CLAIM_CHECK_BYTES, Envelope
from aixgo.subjects import Names

PAGE = (Path(__file__).parents[2] / "subjects.md").read_text()
NAMES = Names("docs")
SAMPLES = {
    "agent": "critic",
    "run": "0190a5f0",
    "step": "review/2/critic",
    "stream": "CALLS",
    "subject": "aixgo.docs.call.critic.0190a5f0.review_2_critic",
    "method": "status",
    "session": "u-17",
    "key": "votes",
    "version": 3,
}


def section(title: str) -> str:
    """Return the text below a heading, up to the next one."""
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    assert found, f"subjects.md has no section {title!r}"
    return found.group(1)


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this heading."""
    lines = text.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")]
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return table


def built() -> dict[str, str]:
    """Return what every function of `Names` builds for the samples, by function; no filters."""
    made = {}
    for name, function in inspect.getmembers(NAMES, inspect.ismethod):
        wanted = list(inspect.signature(function).parameters)
        if not name.startswith("_") and name != "parse" and set(wanted) <= set(SAMPLES):
            subject = function(**{parameter: SAMPLES[parameter] for parameter in wanted})
            if subject.startswith(NAMES.prefix):
                made[name] = subject.removeprefix(NAMES.prefix)
    return made


def pattern_of(entry: subjects.Entry) -> re.Pattern[str]:
    """Return the regular expression that a row of the catalogue stands for."""
    parts = [
        r".+" if part == "<original subject>" else r"[A-Za-z0-9_-]{1,32}" if "<" in part else part
        for part in re.split(r"\.(?![^<]*>)", entry.pattern)
    ]
    return re.compile(r"\.".join(parts))


def matches(subject_filter: str, subject: str) -> bool:
    """Whether a filter of the broker matches a subject."""
    regex = re.escape(subject_filter).replace(r"\*", r"[^.]+").replace(r"\.>", r"\..+")
    return re.fullmatch(regex.replace(">", ".+"), subject) is not None


def test_subjects_md_lists_exactly_what_the_code_builds() -> None:
    documented = [(row[0], row[1]) for row in rows(section("Catalogue"), "subject")]
    assert documented == [(entry.pattern, entry.kept_in) for entry in subjects.ALL]


def test_every_row_says_who_publishes_who_consumes_and_what() -> None:
    for row in rows(section("Catalogue"), "subject"):
        assert len(row) == 5, row
        assert all(row), row


def test_every_function_builds_a_subject_of_the_catalogue() -> None:
    literal = {name: subject for name, subject in built().items() if not set(subject) & set("*>")}
    assert len(literal) >= len(subjects.ALL)
    for name, subject in literal.items():
        fitting = [e.pattern for e in subjects.ALL if pattern_of(e).fullmatch(subject)]
        assert fitting, f"Names.{name} builds {subject!r}, which subjects.md does not list"
        assert len(fitting) == 1, (name, fitting)


def test_every_row_of_the_catalogue_is_built_by_a_function() -> None:
    for entry in subjects.ALL:
        assert any(pattern_of(entry).fullmatch(subject) for subject in built().values()), entry


def test_every_filter_matches_a_subject_of_the_catalogue() -> None:
    made = built()
    literal = [subject for subject in made.values() if not set(subject) & set("*>")]
    filters = {name: subject for name, subject in made.items() if set(subject) & set("*>")}
    assert filters
    for name, subject_filter in filters.items():
        assert any(matches(subject_filter, subject) for subject in literal), name


def test_every_subject_is_kept_in_the_stream_that_the_catalogue_names() -> None:
    streams = {
        stream.name.rpartition("-")[2]: stream.subjects for stream in topology.streams(NAMES)
    }
    for name, subject in built().items():
        if set(subject) & set("*>"):
            continue
        (entry, *_) = [entry for entry in subjects.ALL if pattern_of(entry).fullmatch(subject)]
        keeping = [
            short
            for short, kept in streams.items()
            if any(matches(one, NAMES.prefix + subject) for one in kept)
        ]
        assert keeping == ([] if entry.kept_in == "core" else [entry.kept_in]), name


def test_the_table_of_the_envelope_lists_its_fields_in_order() -> None:
    documented = [row[0] for row in rows(section("Envelope"), "field")]
    assert documented == list(Envelope.__struct_fields__)


def test_size_and_age_of_large_bodies_are_those_of_the_code() -> None:
    text = " ".join(section("Large bodies").split())
    assert f"over {CLAIM_CHECK_BYTES // 1024} kB" in text
    (blobs,) = [
        one for one in topology.streams(NAMES) if one.name == f"OBJ_{NAMES.bucket('blobs')}"
    ]
    assert f"after {_age(blobs.max_age)}." in text


def _size(count: int) -> str:
    if not count:
        return "–"
    mib, rest = divmod(count, topology.MIB)
    assert not rest
    return f"{mib // 1024} GiB" if mib % 1024 == 0 else f"{mib} MiB"


def _age(seconds: float) -> str:
    if not seconds:
        return "–"
    days, rest = divmod(seconds, topology.DAY)
    return f"{rest / 60:g} min" if rest else f"{days:g} d"


def _stream_row(stream: StreamConfig) -> list[str]:
    kept = ", ".join(subject.removeprefix(NAMES.prefix) for subject in stream.subjects)
    limits = [_size(stream.max_bytes)]
    if stream.max_messages_per_subject:
        limits.append(f"{stream.max_messages_per_subject:,} per subject")
    return [
        stream.name.rpartition("-")[2],
        kept,
        stream.retention,
        stream.storage,
        stream.discard,
        ", ".join(limit for limit in limits if limit != "–") or "–",
        _age(stream.max_age),
    ]


def test_the_table_of_streams_is_the_topology() -> None:
    declared = [_stream_row(stream) for stream in topology.streams(NAMES)]
    names = set(subjects.STREAMS)
    assert rows(section("Streams and buckets"), "stream") == [
        row for row in declared if row[0] in names
    ]


def test_the_table_of_buckets_is_the_topology() -> None:
    declared = {
        stream.name.rpartition("-")[2]: stream
        for stream in topology.streams(NAMES)
        if stream.name.rpartition("-")[2] not in subjects.STREAMS
    }
    table = rows(section("Streams and buckets"), "bucket")
    assert [row[0] for row in table] == [*subjects.BUCKETS, subjects.BLOBS] == list(declared)
    for row in table:
        stream = declared[row[0]]
        assert row[1] == stream.name.replace("docs", "<namespace>")
        if row[0] != subjects.BLOBS:
            assert row[2] == str(stream.max_messages_per_subject)
            assert row[3] == ("yes" if stream.allow_ttl else "no")
        assert row[4] == _age(stream.max_age)


@pytest.mark.parametrize("column", range(6))
def test_the_table_of_consumers_is_the_topology(column: int) -> None:
    agent = topology.AgentNeeds(name="critic", sources=("source",))
    declared = [
        [
            consumer.name.replace("critic", "<agent>"),
            stream.rpartition("-")[2],
            ", ".join(
                one.removeprefix(NAMES.prefix)
                .replace("critic", "<agent>")
                .replace("source", "<source>")
                for one in consumer.filters
            ),
            f"{consumer.ack_wait:g} s",
            "–" if consumer.max_deliver == -1 else str(consumer.max_deliver),
            "concurrency"
            if consumer.max_ack_pending == agent.concurrency
            else f"{consumer.max_ack_pending:,}",
        ]
        for stream, consumer in topology.consumers(NAMES, [agent])
    ]
    documented = rows(section("Consumers"), "consumer")
    assert [row[column] for row in documented] == [row[column] for row in declared]


def test_reserved_names_are_neither_built_nor_declared() -> None:
    found = re.search(r"Reserved for later versions.*?(?=\n\n)", PAGE, re.S)
    assert found
    reserved = re.findall(r"`([^`]+)`", found[0])
    assert len(reserved) == 4
    patterns = {entry.pattern for entry in subjects.ALL}
    for name in reserved:
        assert name not in patterns
        assert name not in subjects.BUCKETS
