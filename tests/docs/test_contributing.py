"""The diffs of CONTRIBUTING fit the files that they change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
DIFFS = re.findall(r"^\*\*([^*\n]+)\*\*(?:(?!^\*\*).)*?^```diff\n(.*?)^```", PAGE, re.M | re.S)
PARTS = [
    (title, path, body)
    for title, diff in DIFFS
    for path, body in re.findall(r"^\+\+\+ (\S+)\n(.*?)(?=^\+\+\+ |\Z)", diff, re.M | re.S)
]


def test_there_is_a_diff_for_everything_that_people_add() -> None:
    assert [title for title, _ in DIFFS] == [
        "A role",
        "A pattern",
        "A tool kind",
        "A model provider",
        "A broker",
        "A command",
        "An HTTP route",
        "A service that is not a role",
        "An error",
    ]


@pytest.mark.parametrize(("title", "path", "body"), PARTS, ids=lambda part: str(part)[:40])
def test_a_diff_changes_a_file_that_exists_or_adds_one_where_others_are(
    title: str, path: str, body: str
) -> None:
    file = ROOT / path
    kept = [line[1:] for line in body.splitlines() if line[:1] in (" ", "-")]
    if not file.exists():
        assert not kept, f"{title}: {path} does not exist"
        assert any(parent.exists() for parent in list(file.parents)[:7])
    for line in kept:
        assert line in file.read_text().splitlines(), f"{title}: {path} has no line {line!r}"


def test_no_diff_needs_more_than_its_own_file_and_one_registration() -> None:
    for title, diff in DIFFS:
        changed = re.findall(r"^\+\+\+ (\S+)", diff, re.M)
        code = [path for path in changed if not path.startswith("docs/")]
        assert len(code) <= 2, (title, changed)


def test_every_command_of_the_table_exists_and_every_command_is_in_it() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M)) - {"help"}
    assert set(re.findall(r"^\| `make ([a-z-]+)`", PAGE, re.M)) == targets
