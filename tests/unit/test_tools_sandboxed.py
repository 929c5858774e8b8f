"""A sandboxed function in a document; its limits are proven in tests/processes/test_sandbox.py."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aixgo.documents import parse_document
from aixgo.testing.local import run_local

MODULE = """
import os, socket
from typing import Any

def look(word: str, times: int = 2) -> dict[str, Any]:
    '''Look a word up.'''
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=2)
    except OSError as error:
        reached = error.strerror
    return {"word": word * times, "network": reached, "variables": sorted(os.environ)}
"""

DOCUMENT = """\
version: 2
agents:
  - {name: desk, handler: "boxed_desk:desk", tools: [{type: python, function: "boxed_look:look",
     name: look, sandbox: true, effect: read}]}
"""


async def test_a_function_runs_without_the_network_and_the_environment(tmp_path: Path) -> None:
    (tmp_path / "boxed_look.py").write_text(MODULE)
    (tmp_path / "boxed_desk.py").write_text(
        "async def desk(message, ctx):\n    return await ctx.tool('look', {'word': message.text})\n"
    )
    document = await asyncio.to_thread(
        parse_document, DOCUMENT.encode(), "f.yaml", {}, directory=tmp_path
    )
    assert "boxed_look" not in sys.modules
    async with run_local(*document.agents) as system:
        found = (await system.call("desk", "ab")).data
    assert found["word"] == "abab"
    assert found["network"] == "Network is unreachable"
    assert {*found["variables"]} - {"LC_CTYPE"} == {"HOME", "TMPDIR"}
