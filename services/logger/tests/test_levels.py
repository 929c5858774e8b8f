"""The level of a message: the first rule that holds, its own, or the usual one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aixgo_services.logger.levels import LevelRule, Levels


class Event(msgspec.Struct):
    """A message."""

    data: Any
    source: str = "sensor"

    @property
    def text(self) -> str:
        return self.data if isinstance(self.data, str) else msgspec.json.encode(self.data).decode()


def level(data: Any, *rules: dict[str, Any], path: str = "", source: str = "sensor") -> int | None:
    levels = Levels("journal", "info", path, [LevelRule(**rule) for rule in rules])
    return levels.of(Event(data, source))


def test_no_text_is_too_hard_to_match() -> None:
    rule = {"matches": "^(a+)+$", "level": "error"}
    assert level("a" * 10_000 + "!", rule) == 20  # with Python's own engine it would take for ever
    assert level("a" * 10_000, rule) == 40


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        ({"severity": "error"}, 40),
        ({"severity": " WARN "}, 30),
        ({"severity": "fatal"}, 50),
        ({"severity": "notice"}, 20),
        ({"severity": "trace"}, 10),
        ({"severity": "purple"}, 20),
        ({"severity": 7}, 20),
        ({"other": "error"}, 20),
        ("error", 20),
    ],
)
def test_a_payload_names_its_level(payload: Any, number: int) -> None:
    assert level(payload, path="$.severity") == number


@pytest.mark.parametrize(
    ("rule", "payload", "holds"),
    [
        ({"source": "sensor"}, 1, True),
        ({"source": "other"}, 1, False),
        ({"matches": "(?i)fail"}, "It FAILED", True),
        ({"matches": "fail"}, {"state": ["failed"]}, True),
        ({"matches": "fail"}, "fine", False),
        ({"field": "$.t", "above": 80}, {"t": 80.5}, True),
        ({"field": "$.t", "above": 80}, {"t": 80}, False),
        ({"field": "$.t", "above": 80}, {"t": "90"}, False),
        ({"field": "$.t", "above": 0}, {"t": True}, False),
        ({"field": "$.t", "above": 1, "below": 3}, {"t": 2}, True),
        ({"field": "$.t", "below": 3}, {"t": 3}, False),
        ({"field": "$.t", "below": 3}, {}, False),
        ({"field": "$.t"}, {"t": None}, True),
        ({"field": "$.t"}, {}, False),
        ({"field": "$.a[*].t", "equals": 2}, {"a": [{"t": 1}, {"t": 2}]}, True),
        ({"field": "$.t", "equals": 1}, {"t": True}, False),
        ({"field": "$.t", "equals": None}, {"t": None}, True),
        ({"field": "$.t", "matches": "^a"}, {"t": "ab", "u": "x"}, True),
        ({"field": "$.u", "matches": "^a"}, {"t": "ab", "u": "x"}, False),
        ({"equals": "down"}, "down", True),
        ({"above": 3}, 4, True),
        ({"source": "sensor", "above": 3}, 2, False),
    ],
)
def test_a_rule_holds_when_all_that_it_says_does(
    rule: dict[str, Any], payload: Any, holds: bool
) -> None:
    assert level(payload, {"level": "error", **rule}) == (40 if holds else 20)


def test_the_first_rule_that_holds_counts_before_the_level_of_the_payload() -> None:
    rules = [
        {"source": "noisy", "level": "off"},
        {"matches": "fail", "level": "critical"},
        {"source": "sensor", "level": "debug"},
    ]
    own = {"severity": "error", "text": "failed"}
    assert level(own, *rules, path="$.severity") == 50
    assert level({"severity": "error"}, *rules, path="$.severity") == 10
    assert level({"severity": "error"}, *rules, path="$.severity", source="other") == 40
    assert level(own, *rules, source="noisy") is None
