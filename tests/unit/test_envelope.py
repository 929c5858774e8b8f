"""The envelope: what is sent arrives, older and newer shapes are read, garbage is one error."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo import envelope
from aixgo.envelope import Blob, Envelope, Failure, Usage
from aixgo.errors import InvalidPayload

text = st.text(max_size=40)
counts = st.integers(min_value=0, max_value=2**40)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(text, children, max_size=4),
    max_leaves=10,
)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


usages = st.builds(
    Usage,
    prompt_tokens=counts,
    completion_tokens=counts,
    cached_tokens=counts,
    model_calls=counts,
    cost_usd=st.integers(min_value=0, max_value=10**6).map(lambda dollars: dollars / 1024),
    unpriced_calls=st.integers(min_value=0, max_value=5),
)
envelopes = st.builds(
    Envelope,
    id=text,
    kind=st.sampled_from(["call", "result", "event", "rpc", "reply"]),
    source=text,
    target=text,
    run=text,
    step=text,
    payload=st.just(msgspec.UNSET) | json_values.map(raw),
    meta=st.dictionaries(text, json_values, max_size=4),
    usage=st.none() | usages,
    deadline=st.none() | st.floats(min_value=0, max_value=1e11),
    depth=st.integers(min_value=0, max_value=100),
    budget=text,
    attempt=st.integers(min_value=0, max_value=100),
    traceparent=text,
    tracestate=text,
    sent_at=st.floats(min_value=0, max_value=1e11),
    status=st.none() | st.sampled_from(["done", "error", "expired", "cancelled"]),
    error=st.none() | st.builds(Failure, code=text, message=text, agent=text, attempts=counts),
    fingerprint=text,
    blob=st.none() | st.builds(Blob, key=text, size=counts, sha256=text),
)


@given(envelopes)
def test_what_is_encoded_is_what_is_decoded(sent: Envelope) -> None:
    arrived = envelope.decode(envelope.encode(sent))
    assert arrived.body == sent.body
    for field in Envelope.__struct_fields__:
        if field != "payload":
            assert getattr(arrived, field) == getattr(sent, field), field


@given(envelopes)
def test_a_relay_passes_the_payload_on_byte_by_byte(sent: Envelope) -> None:
    relayed = envelope.encode(envelope.decode(envelope.encode(sent)))
    assert envelope.decode(relayed).body == sent.body


def test_a_payload_keeps_the_spelling_of_its_sender() -> None:
    spelling = b'{"b": 1.0e0,   "a": 12345678901234567890123, "b": 2}'
    data = b'{"id": "1", "kind": "call", "payload": %s}' % spelling
    arrived = envelope.decode(data)
    assert arrived.body == spelling
    assert envelope.decode(envelope.encode(arrived)).body == spelling


@given(json_values)
def test_the_wire_is_json_that_any_tool_reads(value: Any) -> None:
    sent = Envelope(id="1", kind="call", payload=raw(value))
    assert json.loads(envelope.encode(sent))["payload"] == value


def test_the_oldest_shape_is_read_with_defaults() -> None:
    assert envelope.decode(b'{"id": "1", "kind": "event"}') == Envelope(id="1", kind="event")


@given(st.dictionaries(text.map(lambda name: f"new_{name}"), json_values, max_size=5))
def test_a_newer_shape_is_read_without_what_is_unknown(new: dict[str, Any]) -> None:
    data = json.dumps(
        {
            **new,
            "v": 7,
            "id": "1",
            "kind": "result",
            "usage": {**new, "prompt_tokens": 3},
            "error": {**new, "code": "c", "message": "m"},
            "blob": {**new, "key": "k", "size": 1, "sha256": "s"},
        }
    ).encode()
    wanted = Envelope(
        v=7,
        id="1",
        kind="result",
        usage=Usage(prompt_tokens=3),
        error=Failure(code="c", message="m"),
        blob=Blob(key="k", size=1, sha256="s"),
    )
    assert envelope.decode(data) == wanted


def test_every_field_but_id_and_kind_has_a_default() -> None:
    required = {field.name for field in msgspec.structs.fields(Envelope) if field.required}
    assert required == {"id", "kind"}


def test_what_has_its_default_value_is_not_sent() -> None:
    assert set(json.loads(envelope.encode(Envelope(id="1", kind="call")))) == {"id", "kind"}


def _only_invalid_payload(data: bytes) -> None:
    with suppress(InvalidPayload):
        assert isinstance(envelope.decode(data), Envelope)


@given(st.binary(max_size=200))
def test_garbage_is_an_invalid_payload_and_nothing_else(data: bytes) -> None:
    _only_invalid_payload(data)


@given(json_values | st.dictionaries(st.sampled_from(Envelope.__struct_fields__), json_values))
def test_json_of_another_shape_is_an_invalid_payload_and_nothing_else(value: Any) -> None:
    _only_invalid_payload(json.dumps(value).encode())


@given(envelopes, st.data())
def test_a_damaged_envelope_is_an_invalid_payload_and_nothing_else(
    sent: Envelope, data: st.DataObject
) -> None:
    wire = bytearray(envelope.encode(sent))
    for _ in range(data.draw(st.integers(min_value=1, max_value=4))):
        wire[data.draw(st.integers(min_value=0, max_value=len(wire) - 1))] = data.draw(
            st.integers(min_value=0, max_value=255)
        )
    _only_invalid_payload(bytes(wire[: data.draw(st.integers(min_value=0, max_value=len(wire)))]))


@pytest.mark.parametrize("opening", [b'{"id":"1","kind":"call","payload":', b'{"x":', b"["])
def test_nesting_without_end_is_an_invalid_payload(opening: bytes) -> None:
    with pytest.raises(InvalidPayload):
        envelope.decode(opening + b"[" * 100_000)
    # from Python 3.14 on this is as deep as it is correct where nothing looks into the payload
    _only_invalid_payload(opening + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_the_error_names_the_field_and_shows_the_beginning() -> None:
    with pytest.raises(InvalidPayload, match=r"\$\.depth.*beginning b'\{"):
        envelope.decode(b'{"id": "1", "kind": "call", "depth": "two"}')


def test_an_absent_payload_reads_as_null() -> None:
    assert Envelope(id="1", kind="call").body == b"null"


def test_the_trace_id_is_the_second_part_of_traceparent() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    carrying = Envelope(id="1", kind="call", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert carrying.trace_id == trace
    assert Envelope(id="1", kind="call").trace_id == ""


def test_ids_are_unique() -> None:
    assert len({envelope.new_id() for _ in range(20_000)}) == 20_000


def test_ids_are_ordered_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [0, 1_000_000, 1_700_000_000_000_000_000, 1_700_000_000_001_000_000, 2**62]
    ids = []
    for moment in moments:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        ids.append(envelope.new_id())
    assert ids == sorted(ids)


def test_an_id_has_the_layout_of_uuid_version_7() -> None:
    before = time.time_ns() // 1_000_000
    made = envelope.new_id()
    assert len(made) == 32
    assert made[12] == "7"
    assert made[16] in "89ab"
    assert before <= int(made[:12], 16) <= time.time_ns() // 1_000_000


@given(st.lists(usages, max_size=6))
def test_usage_sums_over_the_call_tree(parts: list[Usage]) -> None:
    total = sum(parts, envelope.NO_USAGE)
    for field in Usage.__struct_fields__:
        assert getattr(total, field) == sum(getattr(part, field) for part in parts)
    assert total.total_tokens == sum(part.total_tokens for part in parts)


@given(usages, usages)
def test_an_unknown_cost_stays_unknown(one: Usage, two: Usage) -> None:
    both = one + two
    assert (both.cost is None) == (one.cost is None or two.cost is None)
    if both.cost is not None:
        assert both.cost == one.cost_usd + two.cost_usd


def test_no_calls_cost_nothing_which_is_known() -> None:
    assert envelope.NO_USAGE.cost == 0.0
    assert Usage(unpriced_calls=1, cost_usd=3.0).cost is None


@given(text, st.binary(max_size=40))
def test_a_fingerprint_is_stable_and_short(target: str, payload: bytes) -> None:
    first = envelope.fingerprint(target, payload)
    assert first == envelope.fingerprint(target, payload)
    assert len(first) == 22
    assert first != envelope.fingerprint(target, payload + b" ")


def test_a_fingerprint_tells_targets_apart() -> None:
    assert envelope.fingerprint("critic", b"{}") != envelope.fingerprint("judge", b"{}")
