"""Every decision has a date, what it was chosen instead of, and a line in the list."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/adr"
DECISIONS = sorted(FOLDER.glob("0*.md"))


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_says_when_why_and_instead_of_what(page: Path) -> None:
    text = page.read_text()
    assert re.match(rf"# {int(page.name[:4])}\. \S", text)
    assert re.search(r"\*\*Decided\*\* \(\d{4}-\d\d-\d\d[^)]*\)", text), "no date"
    assert "**Instead of**" in text, "no alternatives"


def test_the_list_has_every_decision_by_its_title() -> None:
    listed = re.findall(
        r"^\| \[(\d+)\]\((\S+)\) \| (.+) \|$", (FOLDER / "README.md").read_text(), re.M
    )
    titles = [page.read_text().splitlines()[0] for page in DECISIONS]
    assert [f"# {number}. {title}" for number, _, title in listed] == titles
    assert [name for _, name, _ in listed] == [page.name for page in DECISIONS]
