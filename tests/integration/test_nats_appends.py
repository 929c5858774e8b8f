"""A writer never loses against itself: answers that are lost are looked up, not believed lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aixgo.broker import Appended, Expect, StreamConfig
from aixgo.broker.nats import NatsBroker, appends
from aixgo.errors import BadSubject, RequestTimeout, StreamRefused, WrongSequence
from aixgo.testing.nats_server import NatsServer

pytestmark = pytest.mark.nats

LOG = StreamConfig(name="L", subjects=("l.>",))
ABSENT = Expect(subject_sequence=0)


@pytest.fixture(autouse=True)
def _short_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appends, "ATTEMPT_SECONDS", 0.2)


async def with_lost_answer(proxy: Any, appending: Any) -> Any:
    """Run an append whose first answer does not come back."""
    proxy.lost.clear()
    proxy.lose_answers = True
    task = asyncio.ensure_future(appending)
    await proxy.lost.wait()
    proxy.lose_answers = False
    return await task


async def test_a_compare_and_set_whose_answer_was_lost_has_won(
    proxied: NatsBroker, proxy: Any
) -> None:
    await proxied.ensure_stream(LOG)
    won = await with_lost_answer(proxy, proxied.append("l.a", b"mine", expect=ABSENT))
    assert won == Appended("L", 1, duplicate=True)
    again = Expect(subject_sequence=1)
    won = await with_lost_answer(proxy, proxied.append("l.a", b"mine", expect=again))
    assert won.sequence == 2
    assert [record.data for record in await proxied.read("L", "l.a")] == [b"mine", b"mine"]


async def test_a_compare_and_set_over_a_filter_whose_answer_was_lost_has_won(
    proxied: NatsBroker, proxy: Any
) -> None:
    await proxied.ensure_stream(LOG)
    absent = Expect(subject_sequence=0, subject_filter="l.run.*")
    won = await with_lost_answer(proxy, proxied.append("l.run.a", b"", expect=absent, msg_id="1"))
    assert won.sequence == 1


async def test_an_equal_record_of_another_writer_has_beaten_us(
    server: NatsServer, proxied: NatsBroker, proxy: Any
) -> None:
    """The same bytes and the same message id: only the writer's own mark tells them apart."""
    await proxied.ensure_stream(LOG)
    async with await NatsBroker.connect(server.url) as rival:
        proxy.freeze()
        appending = asyncio.ensure_future(
            proxied.append("l.a", b"equal", expect=ABSENT, msg_id="1")
        )
        await asyncio.sleep(0.05)
        await rival.append("l.a", b"equal", expect=ABSENT, msg_id="1")
        proxy.cut()
        with pytest.raises(WrongSequence):
            await appending
        assert len(await rival.read("L", "l.a")) == 1


async def test_an_append_with_an_id_whose_answer_was_lost_is_stored_once(
    proxied: NatsBroker, proxy: Any
) -> None:
    await proxied.ensure_stream(LOG)
    stored = await with_lost_answer(proxy, proxied.append("l.a", b"", msg_id="1"))
    assert stored == Appended("L", 1, duplicate=True)
    info = await proxied.stream_info("L")
    assert info is not None
    assert info.messages == 1


async def test_the_mark_of_a_writer_is_not_seen_by_readers(broker: NatsBroker) -> None:
    await broker.ensure_stream(LOG)
    await broker.append("l.a", b"", expect=ABSENT, headers={"mine": "1"})
    record = await broker.last("L", "l.a")
    (read,) = await broker.read("L", "l.a")
    async with broker.follow("L", "l.>") as records:
        followed = await anext(records)
    for seen in (record, read, followed):
        assert seen is not None
        assert seen.headers["mine"] == "1"
        assert "Aixgo-Writer" not in seen.headers


async def test_without_any_word_the_error_says_that_it_may_be_stored(
    server: NatsServer, broker: NatsBroker
) -> None:
    await broker.ensure_stream(LOG)
    server.pause()
    with pytest.raises(RequestTimeout, match="may or may not be stored"):
        await broker.append("l.a", b"", timeout=0.5)
    server.resume()


async def test_an_answer_of_a_plain_subscriber_is_not_taken_for_a_stream(
    broker: NatsBroker,
) -> None:
    answering: set[asyncio.Task[None]] = set()
    await broker.subscribe(
        "nostream", lambda m: answering.add(asyncio.ensure_future(broker.publish(m.reply, b"{}")))
    )
    with pytest.raises(Exception, match="no stream keeps 'nostream'"):
        await broker.append("nostream", b"", timeout=1.0)
    await asyncio.gather(*answering)


async def test_a_fractional_ttl_is_never_shortened(broker: NatsBroker) -> None:
    await broker.ensure_stream(StreamConfig(name="L", subjects=("l.>",), allow_ttl=True))
    await broker.append("l.a", b"", ttl=1.2)
    record = await broker.last("L", "l.a")
    assert record is not None
    assert record.headers["Nats-TTL"] == "2"
    with pytest.raises(StreamRefused, match=r"0\.5 s"):
        await broker.append("l.a", b"", ttl=0.5)


async def test_a_subject_that_would_break_the_protocol_line_is_refused(broker: NatsBroker) -> None:
    with pytest.raises(BadSubject, match="1,024 bytes"):
        await broker.append("l." + "x" * 1100, b"")
    with pytest.raises(BadSubject):
        await broker.stream_info("bad name\r\nPING")
    await broker.flush()
    assert broker.connected
