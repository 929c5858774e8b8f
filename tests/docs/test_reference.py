"""The reference pages say what the code does: generated parts are fresh, every option is named."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from aixgo.cli._group import VERBS, build
from aixgo.documents import load_document, parse_document

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/agents.yaml"))


def test_generated_documentation_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, f"run `python docs/generate.py`; stale: {done.stdout}"


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_of_the_command_line_names_every_option_of_a_verb(verb: str) -> None:
    page = (ROOT / "docs/reference/cli.md").read_text()
    section = page.split(f"## `aixgo {verb}")[1].split("\n## ")[0]
    command: Any = build().get_command(None, verb)
    commands = getattr(command, "commands", {"": command}).values()
    options = {
        name
        for parameter in (one for command in commands for one in command.params)
        if not getattr(parameter, "hidden", False)
        for name in parameter.opts
        if name.startswith("--") and name != "--help"
    }

    assert {name for name in options if name not in section} == set()
    assert set(re.findall(r"`(--[a-z-]+)`", section)) <= options


@cache
def committed() -> Any:
    """Return what validates against the committed schema; to make it takes most of a second."""
    schema = json.loads((ROOT / "docs/schema/aixgo.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    return validator(schema)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_satisfies_the_committed_schema_and_the_loader(path: Path) -> None:
    committed().validate(yaml.safe_load(path.read_text()))
    assert load_document(path, {}).agents


def test_there_are_examples() -> None:
    assert "quickstart" in {path.parent.name for path in EXAMPLES}


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/reference/configuration.md",
        "docs/how-to/events.md",
        "docs/how-to/tools-over-the-network.md",
    ],
)
def test_documents_in_the_pages_are_in_order(name: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    documents = [block for block in blocks if "version: 2" in block]

    assert documents
    for block in documents:
        variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "secret")
        assert parse_document(block.encode(), name, variables).agents
