"""`aixgo version`."""

from __future__ import annotations

import json as json_text
import platform
import sys
from importlib.metadata import version
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def command(json: Json = False) -> None:
    """Say the versions of Aixgo and Python."""
    found = {"aixgo": version("aixgo"), "python": platform.python_version()}
    line = f"aixgo {found['aixgo']} (Python {found['python']})"
    sys.stdout.write(f"{json_text.dumps(found) if json else line}\n")
