"""What uses of tools share in a process, and how long values are cut."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo import ConfigError, tool
from aixgo.config.tools import MIN_RESULT_BYTES
from aixgo.steps.tools import shared
from aixgo.steps.tools.cut import shortened
from aixgo.steps.tools.shared import Values, value_key
from aixgo.tools import ToolSpec


def spec(**changes: object) -> ToolSpec:
    known = {"name": "look", "description": "", "effect": "read", "timeout": 1.0}
    return ToolSpec(**{**known, **changes})  # type: ignore[arg-type]


# -- cached values -----------------------------------------------------------------------------


def test_a_value_is_given_again_until_its_time_is_over() -> None:
    now = [100.0]
    values = Values(lambda: now[0])
    values.put(b"a", b"1", 10)
    now[0] = 109.9
    assert values.get(b"a") == b"1"
    now[0] = 110
    assert values.get(b"a") is None
    assert len(values) == 0


def test_what_was_not_used_for_longest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_VALUES", 2)
    values = Values(lambda: 0.0)
    values.put(b"a", b"1", 10)
    values.put(b"b", b"2", 10)
    assert values.get(b"a") == b"1"
    values.put(b"c", b"3", 10)
    assert [values.get(key) for key in (b"a", b"b", b"c")] == [b"1", None, b"3"]


def test_cached_values_have_room_for_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MAX_VALUES_BYTES", 100)
    monkeypatch.setattr(shared, "MAX_VALUE_BYTES", 60)
    values = Values(lambda: 0.0)
    values.put(b"a", b"x" * 61, 10)
    assert values.get(b"a") is None
    for key in (b"a", b"b", b"a", b"a"):  # the same again takes no more room
        values.put(key, b"x" * 49, 10)
    assert len(values) == 2
    values.put(b"c", b"x" * 49, 10)
    assert values.get(b"b") is None


def test_the_key_is_who_asks_whom_for_what() -> None:
    def key(**changes: object) -> bytes:
        known: dict[str, object] = {"namespace": "n", "agent": "a", "tool": "t", "meta": {}}
        known["arguments"] = msgspec.Raw(b'{"x": 1, "y": [1, 2]}')
        return value_key(**{**known, **changes})  # type: ignore[arg-type]

    same = key(arguments=msgspec.Raw(b'{"y":[1,2],"x":1}'), meta={"other": 1})
    assert same == key()
    others = [
        key(agent="b"),
        key(tool="u"),
        key(namespace="m"),
        key(meta={"session": "1"}),
        key(meta={"user": "1"}),
        key(meta={"session": 1}),
        key(arguments=msgspec.Raw(b'{"x": 1, "y": [2, 1]}')),
    ]
    assert len({key(), *others}) == 8


@pytest.mark.parametrize("effect", ["idempotent", "once"])
def test_only_what_changes_nothing_is_cached(effect: str) -> None:
    with pytest.raises(ConfigError, match=f"'look' has effect '{effect}' and a `cache`"):
        spec(effect=effect, cache=5.0)


# -- long values -------------------------------------------------------------------------------


@given(
    st.text(max_size=3_000) | st.lists(st.text(max_size=400), max_size=12),
    st.integers(MIN_RESULT_BYTES, 2_000),
)
def test_a_value_is_whole_or_cut_to_the_limit_and_says_so(value: object, limit: int) -> None:
    whole = msgspec.Raw(msgspec.json.encode(value))
    kept, size = shortened(whole, spec(max_result=limit))
    if len(bytes(whole)) <= limit:
        assert (kept, size) == (whole, 0)
        return
    assert size == len(bytes(whole))
    assert len(bytes(kept)) <= limit
    text = msgspec.json.decode(kept, type=str)
    beginning, _, note = text.partition("\n[cut here: ")
    assert f"{size:,} bytes and the limit is {limit:,} bytes" in note
    written = value if isinstance(value, str) else bytes(whole).decode()
    if "\n[cut here: " not in written:
        assert written.startswith(beginning)


def test_as_much_is_kept_as_there_is_room_for() -> None:
    whole = msgspec.Raw(msgspec.json.encode("x" * 10_000))
    kept, _ = shortened(whole, spec(max_result=4_096))
    assert 4_000 < len(bytes(kept)) <= 4_096


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_result": 1_000}, "max_result 1000 is not a number of bytes; give 1,024 or more"),
        ({"max_result": True}, "max_result True is not a number"),
        ({"concurrency": -1}, "concurrency -1 is not a number of executions at once"),
        ({"cache": "soon"}, "cache: not a duration"),
    ],
)
def test_limits_that_are_none_are_refused(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError) as raised:

        @tool(effect="read", **options)  # type: ignore[call-overload, untyped-decorator]
        async def look(word: str) -> str:
            return word

    assert text in str(raised.value)
