"""Real service processes on a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

WORKER = Path(__file__).with_name("worker.py")


class Service:
    """A running `worker.py`."""

    def __init__(self, url: str, namespace: str, agent: str, environment: dict[str, str]) -> None:
        self.port = _free_port()
        self.log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - open as long as the process
        command = [sys.executable, str(WORKER), url, namespace, agent, str(self.port)]
        self.process = subprocess.Popen(command, stderr=self.log, env={**os.environ, **environment})

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return status and body of an HTTP path."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_SECONDS
            ) as got:
                return got.status, json.load(got)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def until_ready(self) -> None:
        """Wait until `/ready` says 200."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            assert self.process.poll() is None, self.output()
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not ready after {PATIENCE_SECONDS} s: {self.output()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code."""
        return self.process.wait(PATIENCE_SECONDS)

    def output(self) -> str:
        """Return what it logged."""
        # not by seek and read: the process writes where this file is
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode()

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def nats_server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def service(nats_server: NatsServer) -> Iterator[Callable[..., Service]]:
    """Return `start(namespace, agent, **environment)`; every process ends with the test."""
    running: list[Service] = []

    def start(namespace: str, agent: str, **environment: str) -> Service:
        url = environment.pop("TEST_BROKER", nats_server.url)
        running.append(Service(url, namespace, agent, environment))
        return running[-1]

    yield start
    for one in running:
        one.close()
