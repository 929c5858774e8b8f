"""The `retention:` section of a document, and what becomes of it."""

from __future__ import annotations

import pytest

from aixgo import App
from aixgo.broker.topology import streams
from aixgo.documents import parse_document
from aixgo.errors import InvalidDocument
from aixgo.subjects import RESULTS, Names

DOCUMENT = "version: 2\nagents: [{name: log, role: logger}]\nretention: "


def test_a_document_says_how_long_results_are_kept() -> None:
    text = f"{DOCUMENT}{{keep: 2h, keep_at_least: 1m, max_bytes: 1000000}}\n"
    app = App.from_document(parse_document(text.encode(), "f.yaml", {}))

    assert app.retention.keep == 7200
    assert app.retention.keep_at_least == 60
    assert app.retention.max_bytes == 1_000_000


def test_results_are_kept_a_day_when_nothing_is_said() -> None:
    text = DOCUMENT.rpartition("retention")[0]
    app = App.from_document(parse_document(text.encode(), "f.yaml", {}))

    assert (app.retention.seconds(in_process=False), app.retention.keep_at_least) == (86_400, 30)
    assert app.retention.seconds(in_process=True) == 600
    (stream,) = (one for one in streams(app.names) if one.name == app.names.stream(RESULTS))
    assert stream.max_bytes == app.retention.max_bytes == 1024**3


def test_results_have_no_age_because_a_run_may_be_parked_for_longer_than_any() -> None:
    (stream,) = (one for one in streams(Names()) if one.name == Names().stream(RESULTS))

    assert stream.max_age == 0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{keep: 10s, keep_at_least: 1m}", "keep_at_least 60 s is over keep 10 s"),
        ("{max_bytes: 100}", "65536"),
        ("{age: 1d}", "unknown key 'age'"),
    ],
)
def test_what_cannot_be_is_refused(given: str, reason: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_document(f"{DOCUMENT}{given}\n".encode(), "f.yaml", {})

    assert "f.yaml:3:" in str(caught.value)
    assert reason in str(caught.value)
