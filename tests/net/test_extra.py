"""Kinds cost nothing before a tool of them is built, and say what is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPTIONS: dict[str, dict[str, str]] = {
    "http": {"url": "https://x.test/"},
    "openapi": {"document": "https://x.test/"},
    "websocket": {"url": "wss://x.test/", "message": "hello"},
}


def test_loading_the_kinds_loads_no_client_library() -> None:
    code = (
        "import sys; from aixgo.tools.kinds import KINDS; "
        f"[KINDS[kind].options_model for kind in {[*OPTIONS]}]; "
        "sys.exit(', '.join({'aiohttp', 'jsonpath', 'jsonschema_rs'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", OPTIONS)
def test_what_is_not_installed_is_named(kind: str) -> None:
    given = {"type": kind, "name": "t", **OPTIONS[kind]}
    code = (
        "import sys; sys.modules |= dict.fromkeys(['aiohttp', 'yarl']); "
        "from aixgo.tools.declared import build_tool; "
        "from aixgo.tools.kinds import Workshop; "
        f"_, (problem,) = build_tool({given}, Workshop()); "
        "print(type(problem.cause).__name__, problem.texts()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("MissingExtra ")
    assert done.stdout.endswith("pip install 'aixgo[tools]'\n")
