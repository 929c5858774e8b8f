"""An MCP server that is odd in the way that its first argument names; it is made of JSON alone.

`odd_server.py WAY FOLDER`; its process id is in FOLDER/pid, what it received in FOLDER/received.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

WAY, FOLDER = sys.argv[1], Path(sys.argv[2])
SCHEMA = {"type": "object", "properties": {}}


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def described(name: str) -> dict[str, Any]:
    return {"name": name, "description": name, "inputSchema": SCHEMA}


def listed(cursor: str) -> dict[str, Any]:
    if WAY == "many":  # 1,200 tools in pages of 100
        first = int(cursor or 0)
        page = [described(f"tool{number}") for number in range(first, first + 100)]
        return {"tools": page, "nextCursor": str(first + 100)} if first < 1_100 else {"tools": page}
    if WAY == "changes" and (FOLDER / "changed").exists():
        return {"tools": [described("after"), described("change")]}
    if WAY == "changes":
        return {"tools": [described("before"), described("change")]}
    if WAY == "names":
        return {"tools": [described(name) for name in ("a.b", "a/b", "a_b", "ü", "n" * 300)]}
    return {"tools": [described("huge"), described("wait"), described("blocks")]}


def called(name: str) -> dict[str, Any]:
    if name == "change":
        (FOLDER / "changed").touch()
        send({"method": "notifications/tools/list_changed"})
    if name == "huge":
        return {"content": [{"type": "text", "text": "x" * 40_000_000}]}
    if name == "blocks":
        link = {"type": "resource_link", "uri": "file:///a.txt", "name": "a"}
        image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
        inner = {"type": "resource", "resource": {"uri": "file:///b.txt", "text": "the text"}}
        return {"content": [{"type": "text", "text": "look"}, image, link, inner]}
    return {"content": [{"type": "text", "text": f"{name} did it"}]}


def main() -> None:
    (FOLDER / "pid").write_text(str(os.getpid()))
    if WAY == "dies":
        sys.stderr.write("no licence\n")
        sys.exit(3)
    if WAY == "stays":  # ends for nothing but SIGKILL, and so does what it starts
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen(
            ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 600; done"], stdin=subprocess.DEVNULL
        )
        (FOLDER / "inner").write_text(str(inner.pid))
    if WAY == "nonsense":
        sys.stdout.write("Welcome to the server!\n{not json\n\n[1, 2]\n")
        sys.stdout.flush()
    for line in sys.stdin:
        message = json.loads(line)
        method, given = message.get("method"), message.get("params") or {}
        with (FOLDER / "received").open("a") as file:
            file.write(f"{method} {given.get('name', '')}\n")
        if "id" not in message:
            continue
        if method == "initialize":
            info = {"name": "odd", "version": "1"}
            capabilities = {"tools": {"listChanged": True}}
            result: dict[str, Any] = {
                "protocolVersion": given["protocolVersion"],
                "serverInfo": info,
                "capabilities": capabilities,
            }
        elif method == "tools/list":
            result = listed(given.get("cursor", ""))
        elif method == "tools/call" and given["name"] == "wait":
            continue
        elif method == "tools/call":
            result = called(given["name"])
        else:
            error = {"code": -32601, "message": f"no method {method}"}
            send({"id": message["id"], "error": error})
            continue
        send({"id": message["id"], "result": result})
    while WAY == "stays":
        signal.pause()


if __name__ == "__main__":
    main()
