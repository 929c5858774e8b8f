"""Run the default tests on every supported Python that this machine has.

    make test-pythons                            all of them
    make test-pythons PYTHONS="3.12 3.13"        some of them
    make test-pythons ARGS="--others"            without the one of `.venv`
    make test-pythons ARGS="--coverage"          measured on the newest, where it costs least
    make test-pythons ARGS="-k word"             with arguments for pytest

What is supported is what the classifiers of `shared/pyproject.toml` promise. Pythons are looked for
on the path, in pyenv, among those of uv and in `.cache/pythons` (see `.ci/newer-python`). Each gets
an environment of its own in `.cache/venvs`, but for that of `.venv`. The last lines say what
passed, failed and is missing.
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
THIS = f"3.{sys.version_info.minor}"
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
    if version == THIS:
        yield Path(sys.executable)
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


def environment(version: str, python: Path) -> Path | None:
    """Return an interpreter like this one that has all that the tests need; None if it cannot."""
    if version == THIS:
        return Path(sys.executable)  # `make` has set it up
    venv = ROOT / ".cache/venvs" / version
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    install = [str(python), "requirements/install.py", "dev", str(venv)]
    done = subprocess.run(install, cwd=ROOT, env={**os.environ, "PATH": tools}, check=False)
    return venv / "bin/python" if done.returncode == 0 else None


def run(python: Path, arguments: list[str], *, coverage: bool) -> bool:
    """Run the tests with this interpreter; say whether they passed."""
    tests = ["-m", "pytest", "-n", "3", "--dist", "loadfile", *arguments]
    measured = [
        ["-m", "coverage", "erase"],
        ["-m", "coverage", "run", *tests],
        ["-m", "coverage", "combine", "--quiet"],
        ["-m", "coverage", "report"],
    ]
    failed = 0
    for command in measured if coverage else [tests]:  # tests that fail still say what they cover
        failed += subprocess.run([str(python), *command], cwd=ROOT, check=False).returncode != 0
    return failed == 0


def main() -> int:
    """Run the tests on each; the exit code is 1 if any failed or none was there."""
    parser = argparse.ArgumentParser(description="Run the default tests on every Python.")
    parser.add_argument("--python", action="append", help="a version, such as 3.12; all without")
    parser.add_argument("--others", action="store_true", help=f"all but {THIS}")
    parser.add_argument("--coverage", action="store_true", help="measure it, on the newest")
    chosen, arguments = parser.parse_known_args()
    wanted = [
        version
        for version in promised()
        if version in (chosen.python or promised()) and not (chosen.others and version == THIS)
    ]
    there = {version: found for version in wanted if (found := find(version)) is not None}
    verdicts = dict.fromkeys(wanted, "not on this machine, so not tried")
    for version, (interpreter, full) in there.items():
        print(f"\n== Python {full}", flush=True)
        began = time.monotonic()
        python = environment(version, interpreter)
        coverage = chosen.coverage and version == list(there)[-1]
        passed = python is not None and run(python, arguments, coverage=coverage)
        seconds = time.monotonic() - began
        verdicts[version] = f"{'passed' if passed else 'FAILED'} on {full} in {seconds:.0f} s"
    print()
    for version, verdict in verdicts.items():
        print(f"Python {version}: {verdict}")
    return int(not there or any(verdict.startswith("FAILED") for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
