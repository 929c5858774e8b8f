"""Reading YAML and JSON: what is taken, where it was written, and every limit."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo.documents.source import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MAX_NODES,
    MAX_VALUE_BYTES,
    parse,
    read_document,
)
from aixgo.errors import ConfigError, InvalidDocument


def refusal(text: str | bytes, environment: dict[str, str] | None = None) -> str:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigError) as caught:
        parse(data, "f.yaml", environment or {})
    return str(caught.value)


def value_of(text: str, environment: dict[str, str] | None = None) -> Any:
    return parse(text.encode(), "f.yaml", environment or {}).data


def test_yaml_gives_values_and_remembers_where_each_was_written() -> None:
    tree = parse(b"name: desk\nagents:\n  - name: a\n    timeout: 30s\n", "f.yaml", {})

    assert tree.data == {"name": "desk", "agents": [{"name": "a", "timeout": "30s"}]}
    assert tree.values[("agents", 0, "timeout")] == (4, 14)
    assert tree.keys[("agents", 0, "timeout")] == (4, 5)
    assert tree.values[("agents",)] == (2, 1)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("010", 10),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        (".inf", ".inf"),
        ("~", None),
        ("'true'", "true"),
        ("true", True),
        ("!!str 5", "5"),
        ("!!float 5", 5),
    ],
)
def test_plain_values_follow_yaml_1_2_so_no_text_turns_into_something_else(
    written: str, value: Any
) -> None:
    found = value_of(f"key: {written}")["key"]

    assert found == value
    assert type(found) is type(value)


def test_merged_mappings_give_way_to_keys_that_are_written() -> None:
    text = "base: &base {role: react, model: a/b}\none: {<<: *base, model: c/d}\n"

    assert value_of(text)["one"] == {"role": "react", "model": "c/d"}


@pytest.mark.parametrize(
    ("merged", "found"),
    [
        ("c: {<<: *b}", {"x": 1, "y": 2}),
        ("c: {<<: *b, x: 3}", {"x": 3, "y": 2}),
        ("c: {<<: [*a, *b]}", {"x": 1, "y": 2}),
        ("c: {<<: [*d, *b]}", {"x": 9, "y": 2}),
        ("c: {<<: [*b, *d]}", {"x": 1, "y": 2}),
        ("c: {<<: *e}", {"x": 1, "y": 5, "z": 6}),
        ("c: {<<: *b, <<: *d, y: 0}", {"x": 1, "y": 0}),
        ("c: {'<<': 1}", {"<<": 1}),
    ],
)
def test_a_merged_mapping_brings_what_it_merges_itself(merged: str, found: dict[str, int]) -> None:
    text = (
        "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nd: &d {x: 9}\n"
        "e: &e {<<: [*b, {z: 6}], y: 5}\n" + merged
    )

    assert value_of(text)["c"] == found


@pytest.mark.parametrize("nested", ["3", "[1]", "text", "[[{a: 1}]]"])
def test_only_mappings_are_merged_however_deep(nested: str) -> None:
    with pytest.raises(InvalidDocument, match=r"`<<` merges mappings only"):
        value_of(f"b: &b {{<<: {nested}, y: 2}}\nc: {{<<: *b}}")


def test_merges_of_merges_stay_within_the_limits_of_a_document() -> None:
    lines = ["m0: &m0 {x: 1}"]
    lines += [f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}, *m{n - 1}]}}" for n in range(1, 18)]

    with pytest.raises(InvalidDocument, match="merges counted in full"):
        value_of("\n".join(lines))


_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="$"), max_size=20)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | _WORDS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=4),
        max_leaves=12,
    ),
    st.booleans(),
)
def test_json_means_the_same_as_in_any_json_parser(value: Any, ascii_only: bool) -> None:
    text = json.dumps({"value": value}, ensure_ascii=ascii_only, indent=2)

    assert value_of(text) == {"value": value}


# -- errors --------------------------------------------------------------------------------------


def test_broken_yaml_names_the_place() -> None:
    assert refusal("a: [1,\nb: }").startswith("f.yaml:2:4: no YAML or JSON: ")


def test_a_duplicate_key_names_both_places() -> None:
    assert refusal("a: 1\nb: 2\na: 3\n") == (
        "f.yaml:3:1: duplicate key 'a', first in line 1; keep one"
    )


def test_an_empty_text_says_what_belongs_there() -> None:
    assert "is empty; it needs at least `version: 2`" in refusal("# nothing\n")


def test_bytes_that_are_no_utf_8_are_named() -> None:
    assert refusal(b"a: 1\nb: \xff\n") == (
        "f.yaml:2: byte 8 is no UTF-8 (invalid start byte); save the file as UTF-8"
    )


def test_a_control_character_is_refused_with_its_place() -> None:
    assert refusal("a: 1\nb: x\x00y\n").startswith("f.yaml:2:5: no YAML or JSON: ")


@pytest.mark.parametrize("tag", ["!!python/object:os.system", "!mine", "!!binary", "!!set"])
def test_tags_that_build_objects_are_refused(tag: str) -> None:
    assert "is not allowed; leave it out" in refusal(f"a: {tag} x")


def test_a_second_document_is_refused() -> None:
    assert refusal("a: 1\n---\nb: 2\n").startswith("f.yaml:2:1: a second document begins here")


# -- limits --------------------------------------------------------------------------------------


def test_a_document_of_more_than_ten_megabytes_is_refused() -> None:
    assert f"over {MAX_BYTES:,} bytes" in refusal(b"#" * (MAX_BYTES + 1))


def test_twenty_levels_are_read_and_one_more_is_refused() -> None:
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert f"deeper than {MAX_DEPTH} levels" in refusal("[" * (MAX_DEPTH + 1))


def test_a_million_open_brackets_are_refused_as_quickly_as_twenty_one() -> None:
    assert "deeper than" in refusal("[" * 1_000_000)


def test_ten_thousand_values_are_read_and_one_more_is_refused() -> None:
    assert len(value_of(f"[{'1,' * (MAX_NODES - 1)}]")) == MAX_NODES - 1
    assert f"over {MAX_NODES:,} values" in refusal(f"[{'1,' * MAX_NODES}]")


def test_a_billion_laughs_are_stopped_by_the_limit_of_values() -> None:
    lines = ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]

    assert "aliases counted in full" in refusal("\n".join(lines))


def test_an_alias_cannot_nest_deeper_than_the_limit() -> None:
    half = MAX_DEPTH // 2 + 2

    text = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}"
    assert "nests deeper than" in refusal(text)


def test_an_alias_of_itself_is_refused() -> None:
    assert "stands inside of what it names" in refusal("&a [*a]")


def test_a_key_of_more_than_a_kilobyte_is_refused() -> None:
    assert value_of("k" * 900 + ": 1")
    assert "a key of 1,025 bytes is over the limit of 1,024 bytes" in refusal(
        "? " + "k" * (MAX_KEY_BYTES + 1) + "\n: 1"
    )


def test_a_value_of_more_than_a_megabyte_is_refused() -> None:
    assert "over the limit of 1,048,576 bytes" in refusal("a: " + "v" * (MAX_VALUE_BYTES + 1))


def test_a_whole_number_of_more_than_64_bits_is_refused() -> None:
    assert "needs more than 64 bits; quote it" in refusal("a: " + "9" * 5000)


# -- files ---------------------------------------------------------------------------------------


def test_a_missing_file_a_directory_and_an_unreadable_one_are_one_clear_error_each(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match="no such file; check the path"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a directory; name the YAML or JSON file in it"):
        read_document(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path / "a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_this_user_may_not_read_says_so(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text("a: 1")
    file.chmod(0)

    with pytest.raises(ConfigError, match="may not read it; check its permissions"):
        read_document(file)


# -- variables -----------------------------------------------------------------------------------


def test_variables_are_replaced_and_stay_text() -> None:
    text = "a: ${A}\nb: ${B:-7}\nc: 'x${A}y'\nd: $$HOME\ne: cost is 5$\nf: ${E:-}\n"

    assert value_of(text, {"A": "1", "E": ""}) == {
        "a": "1",
        "b": "7",
        "c": "x1y",
        "d": "$HOME",
        "e": "cost is 5$",
        "f": "",
    }


def test_an_empty_variable_counts_as_unset_for_a_default_only() -> None:
    assert value_of("a: ${A:-d}\nb: ${A}", {"A": ""}) == {"a": "d", "b": ""}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${A}", "environment variable A is not set; set it, or write ${A:-default}"),
        ("${A:?ask the team}", "environment variable A is not set: ask the team"),
        ("${A:?}", "environment variable A is not set; set it"),
        ("${1A}", "write ${VAR}, ${VAR:-default} or ${VAR:?message}"),
        ("${A", "write ${VAR}, ${VAR:-default} or ${VAR:?message}"),
        ("${A:-${B}}", "variables do not nest"),
    ],
)
def test_what_is_wrong_with_a_variable_is_said_with_its_place(written: str, message: str) -> None:
    text = refusal(f"one:\n  two: '{written}'\n")

    assert text.startswith("f.yaml:2:8: one.two: ")
    assert message in text


def test_every_unset_variable_is_reported() -> None:
    assert refusal("a: ${A}\nb: ${B}\n").count("\n") == 1


def test_what_a_variable_holds_is_not_expanded_again() -> None:
    assert value_of("a: ${A}", {"A": "${B} $$"}) == {"a": "${B} $$"}


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_a_text_whose_dollars_are_doubled_comes_back_as_it_was(text: str) -> None:
    written = json.dumps({"a": text}).replace("$", "$$")

    assert parse(written.encode(), "f.json", {}).data == {"a": text}


# -- fuzz ----------------------------------------------------------------------------------------

_SNIPPETS = st.sampled_from(
    [
        *"{}[]?>#|\t\n'\"",
        "a: ",
        "- ",
        "  ",
        "&a ",
        "*a",
        "<<: ",
        "${A",
        ":-",
        "!!int ",
        "---",
        "...",
    ]
) | st.sampled_from(["%YAML 1.1", "0x", "1e9", "\\u", "\ud800"])


@given(st.lists(_SNIPPETS | st.text(max_size=5), max_size=40).map("".join))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        parse(text.encode(errors="surrogatepass"), "f.yaml", {})


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_a_config_error(data: bytes) -> None:
    with suppress(ConfigError):
        parse(data, "f.yaml", {})


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "- " * 100_000, "{a: " * 50_000],
    ids=["open", "closed", "lines", "mappings"],
)
def test_a_document_of_any_depth_is_one_finding(text: str) -> None:
    assert f"nests deeper than {MAX_DEPTH} levels" in refusal(f"version: 2\nagents:\n  {text}")
