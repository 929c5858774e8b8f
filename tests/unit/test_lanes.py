"""What the tests themselves promise: one profile for everyone, and the Pythons that are named."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[2]


def lane(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tests/lanes/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_property_depends_on_the_speed_of_the_machine() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
    for file in [*ROOT.glob("tests/**/*.py"), *ROOT.glob("services/*/tests/*.py")]:
        assert not re.search(r"\bdeadline=timedelta|\bdeadline=\d", _settings_in(file)), file


def _settings_in(file: Path) -> str:
    return " ".join(re.findall(r"@settings\([^)]*\)", file.read_text()))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "Makefile"])
def test_pages_name_the_pythons_that_the_tests_run_on(page: str) -> None:
    oldest, *_, newest = lane("pythons").promised()
    assert f"{oldest} to {newest}" in (ROOT / page).read_text()


def test_every_distribution_starts_with_the_oldest_python() -> None:
    oldest, *_ = lane("pythons").promised()
    for file in [ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]:
        assert f'requires-python = ">={oldest}"' in file.read_text(), file


def test_a_python_is_found_and_one_that_does_not_run_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pythons = lane("pythons")
    python, full = pythons.find(pythons.THIS)
    assert (python, full) == (Path(sys.executable), sys.version.split()[0])

    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\necho 'no such version' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pythons.find("3.99") is None
