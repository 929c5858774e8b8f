"""`power_safe` in a document, and what becomes of it in the topology."""

from __future__ import annotations

import pytest

from aixgo import App
from aixgo.broker.topology import streams
from aixgo.documents import parse_document
from aixgo.errors import ConfigError
from aixgo.subjects import CALLS, Names

DOCUMENT = "version: 2\nagents: [{name: log, role: logger}]\n"
NAMES = Names()


@pytest.mark.parametrize(("said", "meant"), [("deployment: {power_safe: true}", True), ("", False)])
def test_a_document_says_whether_the_queue_is_written_behind(said: str, meant: bool) -> None:
    app = App.from_document(parse_document(f"{DOCUMENT}{said}\n".encode(), "f.yaml", {}))

    assert app.power_safe is meant


def test_only_the_queue_of_calls_is_written_behind() -> None:
    written_behind = {
        stream.name for stream in streams(NAMES, power_safe=True) if stream.persist == "async"
    }

    assert written_behind == {NAMES.stream(CALLS)}
    assert {stream.persist for stream in streams(NAMES)} == {"default"}


def test_copies_on_other_servers_and_a_queue_that_is_written_behind_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"power_safe with 3 replicas.*Leave one of them out"):
        streams(NAMES, replicas=3, power_safe=True)
