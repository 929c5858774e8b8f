"""The package of docs/how-to/extend.md is built, and its parts work like those that ship."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import anyio

from aixgo.testing.fake_provider import Say, fake_provider

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/extend.md").read_text()


def files() -> dict[str, str]:
    """Return the files of the page by their paths."""
    return dict(re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", PAGE, re.M | re.S))


def build(source: Path, target: Path) -> None:
    """Build a wheel of the package, without a network, and unpack it."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(source / "dist")],
        cwd=source,
        capture_output=True,
        timeout=120,
        check=True,
    )
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)


async def test_a_role_a_pattern_a_provider_and_a_tool_kind_of_another_package_work(
    tmp_path: Path,
) -> None:
    source, target = tmp_path / "source", tmp_path / "site"
    for path, text in files().items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    await anyio.to_thread.run_sync(build, source, target)

    async with fake_provider() as server:
        server.will(Say("Owls see in the dark."))
        done = await anyio.run_process(
            [sys.executable, "-W", "error", str(source / "try_it.py")],
            cwd=tmp_path,
            env=os.environ
            | {
                "PYTHONPATH": str(target),
                "ACME_API_KEY": "sk-acme",
                "ACME_BASE_URL": server.base_url,
            },
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode() == files()["output"]
    assert server.requests[0].body["model"] == "small"
