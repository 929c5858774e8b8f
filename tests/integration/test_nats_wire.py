"""What is translated without a server: headers, subjects, declarations, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.broker import StreamConfig, topology
from aixgo.broker.nats.configs import (
    consumer_from_json,
    consumer_to_json,
    differences,
    nanoseconds,
    stream_from_json,
    stream_to_json,
    unix_time,
)
from aixgo.broker.nats.refusals import (
    ApiError,
    is_transient,
    refused_api,
    refused_append,
    violation,
)
from aixgo.broker.nats.wire import (
    DESCRIPTION,
    STATUS,
    ReceivedHeaders,
    adopt_headers,
    check_filter,
    check_subject,
    encode_headers,
    parse_headers,
    pub,
)
from aixgo.errors import (
    AixgoError,
    BadHeader,
    BadSubject,
    ConsumerConflict,
    ConsumerNotFound,
    JetStreamDisabled,
    StreamFull,
    StreamNotFound,
    StreamRefused,
    WrongSequence,
)
from aixgo.subjects import Names

KEYS = st.text("abcXYZ019-_", min_size=1, max_size=12)
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_headers_arrive_as_they_were_sent_but_for_white_space_around_them(
    headers: dict[str, str],
) -> None:
    block = encode_headers(headers)
    parsed = parse_headers(block)
    assert parsed == {key: value.strip() for key, value in headers.items()}
    received = ReceivedHeaders(block)
    assert received == parsed
    assert len(received) == len(parsed)
    assert [key for key in headers if key not in received] == []
    assert "another: key" not in received
    assert received.get("another: key") is None


@given(st.dictionaries(KEYS, st.text(max_size=40), min_size=1, max_size=3))
def test_no_value_can_end_its_line(headers: dict[str, str]) -> None:
    try:
        block = encode_headers(headers)
    except BadHeader:
        return  # lone surrogates, which are no text
    assert list(parse_headers(block)) == list(headers)
    assert block.count(b"\r\n") == len(headers) + 2


@pytest.mark.parametrize("key", ["", " ", "a b", "a:b", "a\r\nb", "ä", "a\0"])
def test_a_key_that_could_be_misread_is_refused(key: str) -> None:
    with pytest.raises(BadHeader, match="header key"):
        encode_headers({key: "v"})


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadHeader, match="'n' is 1"):
        encode_headers({"n": 1})  # type: ignore[dict-item] # the mistake
    with pytest.raises(BadHeader, match="UTF-8"):
        encode_headers({"n": "\ud800"})


def test_a_status_of_the_server_cannot_be_forged_by_a_header() -> None:
    assert parse_headers(b"NATS/1.0 503\r\n\r\n") == {STATUS: "503", DESCRIPTION: ""}
    heartbeat = parse_headers(b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n")
    assert heartbeat == {STATUS: "100", DESCRIPTION: "Idle Heartbeat", "Nats-Last-Consumer": "7"}
    with pytest.raises(BadHeader):
        encode_headers({STATUS: "503"})
    assert STATUS not in parse_headers(encode_headers({"Status": "503"}))


def test_what_nats_py_has_parsed_is_taken_over() -> None:
    parsed = {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "3"}
    wanted = {STATUS: "408", DESCRIPTION: "Request Timeout", "Nats-Pending-Messages": "3"}
    assert adopt_headers(parsed, b"") == wanted
    assert adopt_headers({"Status": "408"}, b"a body") == {"Status": "408"}
    assert adopt_headers(None, b"") == {}


@pytest.mark.parametrize("subject", ["", " ", "a b", "a\tb", "a\r\nPUB x 0", "a\0b", "x" * 1025])
def test_a_subject_that_could_break_the_protocol_is_refused(subject: str) -> None:
    for check in (check_subject, check_filter):
        with pytest.raises(BadSubject):
            check(subject)


@pytest.mark.parametrize("subject", [".a", "a.", "a..b", "a.>.b", ">.a", "a>", "a.b>"])
def test_a_filter_without_sense_is_refused(subject: str) -> None:
    with pytest.raises(BadSubject, match=r"cannot be subscribed to|has an empty token"):
        check_filter(subject)


@pytest.mark.parametrize("subject", ["a", ">", "*", "a.*.b.>", "$JS.API.x", "ü." + "x" * 600])
def test_every_other_filter_is_taken(subject: str) -> None:
    check_filter(subject)


def test_the_sizes_of_a_command_count_bytes() -> None:
    assert pub("ü", "r", b"", "ä".encode()) == "PUB ü r 2\r\nä\r\n".encode()
    block = encode_headers({"k": "ä"})
    assert pub("s", "", block, b"xy").startswith(
        b"HPUB s  %d %d\r\n" % (len(block), len(block) + 2)
    )


# -- declarations --------------------------------------------------------------------------------


def test_every_stream_of_the_topology_comes_back_from_its_json() -> None:
    plain, written_behind = (topology.streams(Names("n"), power_safe=one) for one in (False, True))
    for config in (*plain, *written_behind):
        document = stream_to_json(config)
        back = stream_from_json(document)
        assert differences(back, config, back) == {}
        assert differences(back, back, config) == {}


def test_every_consumer_of_the_topology_comes_back_from_its_json() -> None:
    agents = [topology.AgentNeeds(name="a", sources=("b",))]
    for _, config in topology.consumers(Names("n"), agents):
        assert consumer_from_json(consumer_to_json(config)) == config


def test_a_declaration_that_leaves_a_field_out_means_its_default() -> None:
    wanted = StreamConfig(name="S", subjects=("s.>",))
    standing = replace(wanted, allow_ttl=True, max_age=60.0)
    assert differences(standing, wanted, wanted) == {
        "allow_ttl": (True, False),
        "max_age": (60.0, 0.0),
    }


def test_a_window_over_the_age_is_cut_and_is_no_change_later() -> None:
    wanted = StreamConfig(name="S", subjects=("s.>",), max_age=60.0, duplicate_window=120.0)
    document = stream_to_json(wanted)
    assert document["duplicate_window"] == document["max_age"] == nanoseconds(60.0)
    settled = stream_from_json(document)
    assert differences(settled, wanted, settled) == {}


def test_times_keep_their_nanoseconds() -> None:
    assert unix_time("2026-11-21T14:00:00Z") == 1795269600.0
    assert unix_time("2026-11-21T14:00:00.5Z") == 1795269600.5
    assert unix_time("2026-11-21T14:00:00.123456789Z") == 1795269600.123456789
    assert unix_time("2026-11-21T15:00:00.25+01:00") == 1795269600.25
    assert nanoseconds(0.1) == 100_000_000


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "err_code", "kind"),
    [
        (400, 10071, WrongSequence),
        (400, 10164, WrongSequence),
        (400, 10070, WrongSequence),
        (503, 10023, StreamFull),
        (400, 10054, StreamRefused),
        (400, 10060, StreamRefused),
        (400, 10165, StreamRefused),
    ],
)
def test_what_a_stream_refuses_has_its_own_error(
    code: int, err_code: int, kind: type[AixgoError]
) -> None:
    error = refused_append(ApiError(code, err_code, "because"), "a.b")
    assert type(error) is kind
    assert "'a.b'" in str(error)
    assert "because" in str(error)
    assert error.retryable == (kind is StreamFull)


@pytest.mark.parametrize(
    ("err_code", "consumer", "kind"),
    [
        (10059, "", StreamNotFound),
        (10014, "c", ConsumerNotFound),
        (10039, "", JetStreamDisabled),
        (10100, "c", ConsumerConflict),
        (10012, "c", ConsumerConflict),
        (10047, "", StreamFull),
        (10065, "", StreamRefused),
    ],
)
def test_what_the_api_refuses_has_its_own_error(
    err_code: int, consumer: str, kind: type[AixgoError]
) -> None:
    error = refused_api(ApiError(400, err_code, "because"), "S", consumer)
    assert type(error) is kind


def test_only_what_may_pass_is_tried_again() -> None:
    assert is_transient(ApiError(503, 10008))
    assert is_transient(ApiError(500, 10049))
    assert is_transient(ApiError(429, 10167))
    for full in (10077, 10023, 10047):
        assert not is_transient(ApiError(503, full))
    assert not is_transient(ApiError(500, 10052))


def test_a_violation_is_recognised_with_and_without_a_queue() -> None:
    text = 'nats: permissions violation for publish to "a.b"'
    assert violation(text) == ("publish", "a.b")
    text = 'nats: permissions violation for subscription to "a.>" using queue "q"'
    assert violation(text) == ("subscription", "a.>")
    assert violation("nats: stale connection") is None
