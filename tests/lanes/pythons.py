"""Run the default tests on every supported Python that this machine has.

    make test-pythons                            all of them
    make test-pythons PYTHONS="3.12 3.13"        some of them
    make test-pythons ARGS="-k word"             with arguments for pytest

What is supported is what the classifiers of `shared/pyproject.toml` promise. Pythons are looked for
on the path, in pyenv, among those of uv and in `.cache/pythons` (see `.ci/newer-python`). Each gets
an environment of its own in `.cache/venvs`. The last lines say what passed, failed and is missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLASSIFIER = "Programming Language :: Python :: 3."
FACTS = "import sys, ssl, sqlite3; print('%d.%d' % sys.version_info[:2], sys.version.split()[0])"


def promised() -> list[str]:
    """Return the supported versions, such as `3.11`, oldest first."""
    project = tomllib.loads((ROOT / "shared/pyproject.toml").read_text())["project"]
    minors = [
        int(line.removeprefix(CLASSIFIER))
        for line in project["classifiers"]
        if line.startswith(CLASSIFIER)
    ]
    return [f"3.{minor}" for minor in sorted(minors)]


def places(version: str) -> Iterator[Path]:
    """Yield where an interpreter of this version may be; some of these files do not exist."""
    name = f"python{version}"
    yield ROOT / f".cache/pythons/{version}/usr/bin/{name}"
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        yield Path(folder) / name
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}*/bin/{name}"), reverse=True)
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python"))
    yield from sorted(uv.glob(f"cpython-{version}*/bin/{name}"), reverse=True)


def find(version: str) -> tuple[Path, str] | None:
    """Return the first interpreter of this version that runs, and its full version."""
    for place in places(version):
        if not place.exists():
            continue
        # a shim exists and fails; a Python without ssl cannot run the tests
        told = subprocess.run([place, "-c", FACTS], capture_output=True, text=True, check=False)
        found, _, full = told.stdout.strip().partition(" ")
        if told.returncode == 0 and found == version:
            return place, full
    return None


def run(version: str, python: Path, arguments: list[str]) -> bool:
    """Run the tests in an environment of this interpreter; say whether they passed."""
    venv = ROOT / ".cache/venvs" / version
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    install = [str(python), "requirements/install.py", "dev", str(venv)]
    environment = {**os.environ, "PATH": tools}
    if subprocess.run(install, cwd=ROOT, env=environment, check=False).returncode != 0:
        return False
    tests = [str(venv / "bin/python"), "-m", "pytest", "-n", "3", "--dist", "loadfile", *arguments]
    return subprocess.run(tests, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run the tests on each; the exit code is 1 if any failed or none was there."""
    parser = argparse.ArgumentParser(description="Run the default tests on every Python.")
    parser.add_argument("--python", action="append", help="a version, such as 3.12; all without")
    chosen, arguments = parser.parse_known_args()
    verdicts = {}
    for version in chosen.python or promised():
        there = find(version)
        if there is None:
            verdicts[version] = "not on this machine, so not tried"
            continue
        python, full = there
        print(f"\n== Python {full}", flush=True)
        began = time.monotonic()
        passed = run(version, python, arguments)
        seconds = time.monotonic() - began
        verdicts[version] = f"{'passed' if passed else 'FAILED'} on {full} in {seconds:.0f} s"
    print()
    for version, verdict in verdicts.items():
        print(f"Python {version}: {verdict}")
    some = any(verdict.startswith("passed") for verdict in verdicts.values())
    return int(not some or any(verdict.startswith("FAILED") for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
