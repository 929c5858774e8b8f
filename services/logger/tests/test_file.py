"""A file of lines: whole ones after any crash, rotated by size and time, written by one process."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aixgo import Agent, Message
from aixgo.testing.local import Running, run_local
from aixgo.testing.waiting import PATIENCE_SECONDS, eventually
from aixgo_services.logger.file import FileOptions, FileSink, RotatingFile
from aixgo_services.logger.lines import Record
from aixgo_services.logger.sink import Entry, SinkUnavailable, Together, settle

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.log"


def opened(path: Path, **options: Any) -> RotatingFile:
    return RotatingFile("journal", FileOptions(path=str(path), **options))


def rotated(path: Path) -> list[str]:
    found = sorted(path.parent.iterdir())
    return [one.name for one in found if one.name not in (path.name, f"{path.name}.lock")]


def text_lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in text_lines(path)]


# -- what is written ---------------------------------------------------------------------------


async def source(message: Message) -> str:
    return message.text


async def test_each_event_is_a_line_that_is_there_when_it_is_handled(
    running: Running, path: Path
) -> None:
    journal = Agent("journal", role="logger", file={"path": str(path)}, inputs=["source"])
    async with running(Agent("source", source), journal) as system:
        run = await system.publish("source", {"t": 21.5}, meta={"unit": "C"})
        result = await system.call("journal", "ü\n2", meta={"tenant": "acme"})
        assert result.text == "ü\n2"
        await eventually(lambda: path.exists() and len(lines(path)) == 2)
    event = next(line for line in lines(path) if line["kind"] == "event")
    assert list(event) == [
        *("time", "level", "agent", "kind", "source", "run", "step", "trace_id", "meta"),
        *("payload", "cut_chars"),
    ]
    assert (event["run"], event["source"], event["level"]) == (run, "source", "info")
    assert (event["payload"], event["meta"]) == ({"t": 21.5}, {"unit": "C"})
    call = next(line for line in lines(path) if line["kind"] == "call")
    assert (call["payload"], call["meta"]) == ("ü\n2", {"tenant": "acme"})


async def test_text_is_one_line_for_people(running: Running, path: Path) -> None:
    file = {"path": str(path), "format": "text"}
    journal = Agent("journal", role="logger", file=file, max_chars=20, level="error")
    async with running(journal) as system:
        await system.call("journal", "two\nlines\x1b[31m and more than that")
    (line,) = text_lines(path)
    time, level, _, run, said = line.split(None, 4)
    assert datetime.fromisoformat(time)
    assert (level, len(run)) == ("ERROR", 32)
    assert said.startswith("two\\nlines")
    assert "\x1b" not in line
    assert "characters more" in said


async def test_what_is_below_the_least_level_is_not_written(running: Running, path: Path) -> None:
    journal = Agent(
        "journal",
        role="logger",
        file={"path": str(path)},
        level_from="$.level",
        min_level="warning",
        log=True,
    )
    async with running(journal) as system:
        for level in ("debug", "info", "warning", "error"):
            assert (await system.call("journal", {"level": level})).data == {"level": level}
    assert [line["level"] for line in lines(path)] == ["warning", "error"]


async def test_many_at_once_share_a_write(running: Running, path: Path) -> None:
    journal = Agent("journal", role="logger", file={"path": str(path), "sync": True})
    writes = 0
    async with running(journal) as system:
        sink: Any = system.services["journal"].role._sinks[0]  # type: ignore[attr-defined]
        write = sink._file.write

        def counting(*args: Any) -> None:
            nonlocal writes
            writes += 1
            write(*args)

        sink._file.write = counting
        await asyncio.gather(*(system.call("journal", n) for n in range(200)))
    assert sorted(line["payload"] for line in lines(path)) == list(range(200))
    assert writes < 100


async def test_an_execution_that_ends_while_it_writes_for_others_writes_nothing_twice(
    path: Path,
) -> None:
    sink = FileSink("journal", FileOptions(path=str(path)))
    began, go_on = threading.Event(), threading.Event()
    write = sink._file.write

    def slow(*args: Any) -> None:
        began.set()
        go_on.wait(PATIENCE_SECONDS)
        write(*args)

    sink._file.write = slow  # type: ignore[method-assign,assignment] # as a disk that takes its time
    puts = [asyncio.ensure_future(sink.put(Record(level=20, fields={"n": n}))) for n in range(3)]
    await eventually(began.is_set)
    puts[0].cancel()
    go_on.set()
    await asyncio.gather(*puts, return_exceptions=True)
    await sink.close()
    assert [line["n"] for line in lines(path)] == [0, 1, 2]


async def test_a_batch_that_is_not_written_is_left_to_those_who_wait() -> None:
    batches: list[list[Any]] = []
    released, stuck = asyncio.Event(), asyncio.Event()

    async def write(batch: list[Entry]) -> None:
        batches.append([entry.record.fields["n"] for entry in batch])
        if len(batches) == 1:
            await released.wait()
        elif len(batches) == 2:
            stuck.set()
            await asyncio.Event().wait()
        settle(batch)

    together = Together(write, most=10)
    puts = [
        asyncio.ensure_future(together.put(Record(level=20, fields={"n": n}))) for n in range(5)
    ]
    await eventually(lambda: batches)
    released.set()
    await stuck.wait()
    puts[1].cancel()  # it writes for the others
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*puts[2:])
    assert batches == [[0], [1, 2, 3, 4], [2, 3, 4]]


# -- crashes and full disks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", b""),
        (b"one\n", b"one\n"),
        (b"one\ntw", b"one\n"),
        (b"tw", b""),
        (b"one\n" + b"x" * 200_000, b"one\n"),
        (b"x" * 70_000 + b"\n" + b"y" * 70_000, b"x" * 70_000 + b"\n"),
    ],
    ids=["empty", "whole", "torn", "only-torn", "long-torn", "long-lines"],
)
def test_what_a_crash_left_of_a_line_is_cut_off(path: Path, left: bytes, kept: bytes) -> None:
    path.write_bytes(left)
    file = opened(path)
    file.write([b"next\n"], NOON)
    file.close()
    assert path.read_bytes() == kept + b"next\n"


def test_a_full_disk_leaves_no_part_of_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = opened(path)
    file.write([b"one\n"], NOON)
    write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 3:
            return write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(SinkUnavailable, match=r"No space left on device.*come again"):
            file.write([b"second\n"], NOON)
    assert path.read_bytes() == b"one\n"
    file.write([b"three\n"], NOON)
    file.close()
    assert path.read_bytes() == b"one\nthree\n"


async def test_a_disk_that_is_full_for_a_while_loses_no_event(running: Running, path: Path) -> None:
    retry = {"initial_backoff": 0.01, "max_backoff": 0.01}
    folder = path.parent / "missing"
    file = {"path": str(folder / "journal.log")}
    journal = Agent("journal", role="logger", file=file, retry={**retry, "max_attempts": 15})
    async with running(journal) as system:
        call = asyncio.ensure_future(system.call("journal", "kept"))
        counts = system.services["journal"].counts
        await eventually(lambda: counts.retried > 0)
        folder.mkdir()
        assert (await call).text == "kept"
    assert [line["payload"] for line in lines(folder / "journal.log")] == ["kept"]


HOLDER = """
import sys, datetime
from aixgo_services.logger.file import FileOptions, RotatingFile
file = RotatingFile("other", FileOptions(path=sys.argv[1]))
file.write([b"theirs\\n"], datetime.datetime.now(datetime.UTC))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_file_has_one_writer_until_that_is_gone(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        file = opened(path)
        with pytest.raises(SinkUnavailable, match="another writer has"):
            file.write([b"ours\n"], NOON)
        other.kill()
        other.wait()
    file.write([b"ours\n"], NOON)
    file.close()
    assert path.read_bytes() == b"theirs\nours\n"


# -- rotation ----------------------------------------------------------------------------------


def test_a_file_is_rotated_before_it_is_too_large(path: Path) -> None:
    file = opened(path, max_size=64 * 1024, keep=2)
    line = b"x" * 20_000 + b"\n"
    for second in range(10):
        file.write([line], NOON + timedelta(seconds=second))
    file.close()
    # three lines fit; the oldest of the rotated files are gone
    assert rotated(path) == ["journal.log.20300101T120006Z", "journal.log.20300101T120009Z"]
    assert [path.with_name(name).stat().st_size for name in rotated(path)] == [60_003, 60_003]
    assert path.read_bytes() == line


def test_files_rotated_in_one_second_have_names_of_their_own(path: Path) -> None:
    file = opened(path, max_size=64 * 1024)
    for number in range(4):
        file.write([b"%d" % number * 60_000 + b"\n"], NOON)
    file.close()
    stamp = "journal.log.20300101T120000Z"
    assert rotated(path) == [stamp, f"{stamp}-001", f"{stamp}-002"]
    found = [path.with_name(name).read_bytes()[:1] for name in rotated(path)]
    assert found == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    ("rotate", "days", "hours", "files"),
    [("daily", 0, 11, 0), ("daily", 1, 0, 1), ("hourly", 0, 1, 1), ("never", 9, 0, 0)],
)
def test_a_file_is_rotated_with_the_first_line_of_a_period(
    path: Path, rotate: str, days: int, hours: int, files: int
) -> None:
    file = opened(path, rotate=rotate)
    file.write([b"one\n"], NOON)
    file.write([b"two\n"], NOON + timedelta(days=days, hours=hours, minutes=59))
    file.close()
    assert len(rotated(path)) == files


def test_a_period_that_ended_while_nothing_ran_ends_the_file(path: Path) -> None:
    file = opened(path, rotate="daily")
    file.write([b"yesterday\n"], NOON)
    file.close()
    os.utime(path, (NOON.timestamp(), NOON.timestamp()))
    file = opened(path, rotate="daily")
    file.write([b"today\n"], NOON + timedelta(days=1))
    file.close()
    assert path.read_bytes() == b"today\n"
    assert len(rotated(path)) == 1


def test_a_file_that_another_program_took_away_is_made_anew(path: Path) -> None:
    file = opened(path)
    file.write([b"one\n"], NOON)
    path.rename(path.with_name("taken"))
    file.write([b"two\n"], NOON)
    path.unlink()
    file.write([b"three\n"], NOON)
    file.close()
    assert path.with_name("taken").read_bytes() == b"one\n"
    assert path.read_bytes() == b"three\n"


def test_other_files_beside_it_are_left_alone(path: Path) -> None:
    others = [path.with_name(name) for name in ("journal.log.1", "journal.log.20200101", "x")]
    for other in others:
        other.write_text("mine")
    file = opened(path, max_size=64 * 1024, keep=1)
    for number in range(5):
        file.write([b"x" * 60_000 + b"\n"], NOON + timedelta(seconds=number))
    file.close()
    assert all(other.read_text() == "mine" for other in others)


async def test_two_agents_of_a_process_take_turns_with_one_file(path: Path) -> None:
    quick = {"initial_backoff": 0.01, "max_backoff": 0.01, "max_attempts": 2}
    file = {"path": str(path)}
    agents = [Agent(name, role="logger", file=file, retry=quick) for name in ("one", "two")]
    async with run_local(*agents) as system:
        await system.call("one", "x")
        with pytest.raises(Exception, match="another writer has"):
            await system.call("two", "x", timeout=30)
