"""Promises about what can be sent: headers, subjects, sizes."""

from __future__ import annotations

from aixgo.errors import (
    BadHeader,
    BadSubject,
    PayloadTooLarge,
)
from aixgo.testing.broker_checks._stage import Stage
from aixgo.testing.expect import (
    equal,
    expect,
    refused,
)
from aixgo.testing.waiting import PATIENCE_SECONDS


async def headers_arrive_as_they_were_set(stage: Stage) -> None:
    """Promise 6: unicode values, case-sensitive keys; no headers arrive as no headers."""
    broker = await stage.connect()
    subject = stage.unique("headers")
    inbox = await stage.listen(broker, subject)
    headers = {"traceparent": "00-ab-cd-01", "Name": "åß漢🙂", "name": "lower", "Empty": ""}
    await broker.publish(subject, b"1", headers=headers)
    await broker.publish(subject, b"2", headers={})
    await broker.publish(subject, b"3")
    full, empty, none = await inbox.count(3)
    equal("headers", dict(full.headers), headers)
    equal("headers of {}", dict(empty.headers), {})
    equal("headers of None", dict(none.headers), {})
    equal("bodies", [message.data for message in (full, empty, none)], [b"1", b"2", b"3"])


async def a_header_value_is_stripped_and_stays_on_one_line(stage: Stage) -> None:
    """Promise 6: CR and LF become space, so that no value can smuggle in another header."""
    broker = await stage.connect()
    subject = stage.unique("inject")
    inbox = await stage.listen(broker, subject)
    await broker.publish(subject, b"", headers={"K": "  v\r\nX: y\n\r\nbody "})
    (message,) = await inbox.count(1)
    equal("header keys", list(message.headers), ["K"])
    value = message.headers["K"]
    equal("words of the value", value.split(), ["v", "X:", "y", "body"])
    expect(
        value == value.strip() and "\r" not in value and "\n" not in value,
        f"the value is stripped and has no line break, got {value!r}",
    )
    equal("body", message.data, b"")


async def headers_are_kept_with_a_record(stage: Stage) -> None:
    """Promise 6: a stored record and its delivery carry the headers too."""
    broker = await stage.connect()
    stream = await stage.stream(broker)
    consumer = await stage.consumer(broker, stream)
    subject = f"{stream.name}.a"
    await broker.append(subject, b"x", headers={"Name": "åß", "traceparent": "00-1"})
    record = await broker.last(stream.name, subject)
    expect(record is not None, "the record can be read back")
    assert record is not None
    equal("record's header", record.headers.get("Name"), "åß")
    (delivery,) = await (await stage.deliveries(broker, stream, consumer)).count(1)
    equal("delivery's header", delivery.headers.get("traceparent"), "00-1")


async def a_header_key_that_cannot_be_sent_is_refused(stage: Stage) -> None:
    """Promise 6: BadHeader for an empty key, a space, a colon or a line break in a key."""
    broker = await stage.connect()
    subject = stage.unique("badheader")
    for key in ("", "a b", "a:b", "a\r\nb"):
        with refused(BadHeader, what=f"header key {key!r}"):
            await broker.publish(subject, b"", headers={key: "1"})


async def a_subject_that_cannot_be_sent_is_refused(stage: Stage) -> None:
    """Promise 7: BadSubject for an empty one and for white space, on every way in."""
    broker = await stage.connect()
    for subject in ("", " ", "a b", "a\tb", "a\r\nPUB b 0"):
        with refused(BadSubject, what=f"publish to {subject!r}"):
            await broker.publish(subject, b"")
        with refused(BadSubject, what=f"request to {subject!r}"):
            await broker.request(subject, b"", timeout=PATIENCE_SECONDS)
        with refused(BadSubject, what=f"append to {subject!r}"):
            await broker.append(subject, b"", timeout=PATIENCE_SECONDS)
    subject = stage.unique("after")
    inbox = await stage.listen(broker, subject)
    await broker.publish(subject, b"still connected")
    await inbox.count(1)


async def a_subscription_to_a_malformed_subject_is_refused(stage: Stage) -> None:
    """Promise 7: an empty token, white space, or anything after `>`; the connection stays."""
    broker = await stage.connect()
    for subject in ("", "a..b", ".a", "a.", "a b", "a.>.b"):
        with refused(BadSubject, what=f"subscription to {subject!r}"):
            await broker.subscribe(subject)
    subject = stage.unique("after")
    inbox = await stage.listen(broker, subject)
    await broker.publish(subject, b"still connected")
    await inbox.count(1)


async def a_malformed_subject_is_not_published_to(stage: Stage) -> None:
    """Promise 7: no server would tell; with a stream behind it the message would be gone."""
    broker = await stage.connect()
    for subject in ("", "a..b", ".a", "a.", "a b"):
        with refused(BadSubject, what=f"publish to {subject!r}"):
            await broker.publish(subject, b"")
        with refused(BadSubject, what=f"request to {subject!r}"):
            await broker.request(subject, b"", timeout=1.0)
        with refused(BadSubject, what=f"append to {subject!r}"):
            await broker.append(subject, b"", timeout=1.0)


async def a_message_over_the_limit_is_refused_and_the_connection_stays(stage: Stage) -> None:
    """Promise 8: payload and headers together count; the server is never made to hang up."""
    broker = await stage.connect()
    subject = stage.unique("big")
    inbox = await stage.listen(broker, subject)
    over, full = bytes(broker.max_payload + 1), bytes(broker.max_payload)
    with refused(PayloadTooLarge, what="publish over the limit"):
        await broker.publish(subject, over)
    with refused(PayloadTooLarge, what="publish at the limit, with a header"):
        await broker.publish(subject, full, headers={"K": "v"})
    with refused(PayloadTooLarge, what="publish of a header over the limit"):
        await broker.publish(subject, b"", headers={"K": "v" * broker.max_payload})
    with refused(PayloadTooLarge, what="request over the limit"):
        await broker.request(subject, over, timeout=PATIENCE_SECONDS)
    with refused(PayloadTooLarge, what="append over the limit"):
        await broker.append(subject, over, timeout=PATIENCE_SECONDS)
    half = bytes(broker.max_payload // 2)
    await broker.publish(subject, half)
    equal("what arrived", [m.data == half for m in await inbox.exactly(1)], [True])
