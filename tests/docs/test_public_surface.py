"""The public surface is declared in one place, documented, and enough for every page."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import python_reference as reference  # noqa: E402 - a script beside the pages

sys.path.remove(str(ROOT / "docs"))

PUBLIC = {part.module: set(reference.names_of(part)) for part in reference.SURFACE}


@pytest.mark.parametrize("part", reference.SURFACE, ids=lambda part: part.module)
def test_every_public_name_can_be_imported_and_is_documented(part: reference.Part) -> None:
    module = importlib.import_module(part.module)
    for name in reference.names_of(part):
        assert hasattr(module, name), f"{part.module}.{name}"
        assert reference.find(part.module, name).doc, f"{part.module}.{name} has no docstring"


@pytest.mark.parametrize("part", reference.SURFACE, ids=lambda part: part.module)
def test_a_module_without_a_choice_of_names_offers_exactly_its_all(part: reference.Part) -> None:
    if not part.names:
        module = importlib.import_module(part.module)
        assert set(module.__all__) == set(reference.names_of(part))


def test_pages_and_examples_import_public_names_only() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    blocks = [
        block
        for page in pages
        if page.parent.name not in ("adr", "reference")
        for block in re.findall(r"^```python.*?\n(.*?)^```", page.read_text(), re.M | re.S)
    ]
    blocks += [path.read_text() for path in ROOT.glob("examples/**/*.py")]
    imports = [
        (node.module or "", alias.name)
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "aixgo"
        for alias in node.names
    ]
    assert imports
    private = [(module, name) for module, name in imports if name not in PUBLIC.get(module, ())]
    assert private == []


def test_the_reference_has_an_entry_for_every_name() -> None:
    page = (ROOT / "docs/reference/python.md").read_text()
    for module, names in PUBLIC.items():
        section = page.split(f"\n## `{module}`\n")[1].split("\n## ")[0]
        assert {name for name in names if f"### `{name}`\n" not in section} == set()
