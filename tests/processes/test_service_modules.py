"""`python -m aixgo_services.<role>` serves the agents of its role, each service a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from aixgo import connect
from aixgo.broker.open import open_broker
from aixgo.documents import load_document
from aixgo.hosting.app import App
from aixgo.testing.nats_server import NatsServer
from aixgo.testing.waiting import PATIENCE_SECONDS

DOCUMENT = """
version: 2
namespace: modules
agents:
  - {name: shop, role: producer, events: [one, two, three], interval: 50ms}
  - {name: journal, role: logger, inputs: [{source: shop}]}
  - {name: chain, role: orchestrator, pattern: sequential, agents: [journal, journal]}
"""


@contextmanager
def service(role: str, document: Path, url: str) -> Iterator[subprocess.Popen[str]]:
    """Run a service until the block is left, and see that it drains cleanly."""
    settings = {"AIXGO_FILE": str(document), "AIXGO_BROKER": url, "AIXGO_HEALTH_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", f"aixgo_services.{role}", "--log-format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **settings},
    )
    try:
        yield process
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def logged(process: subprocess.Popen[str], message: str) -> dict[str, object]:
    """Return the next log line with the message."""
    assert process.stdout is not None
    for line in process.stdout:
        entry = json.loads(line)
        if entry.get("message") == message:
            return dict(entry)
    raise AssertionError(f"the service ended without a line {message!r}")


@pytest.mark.nats
@pytest.mark.timeout(90)
@pytest.mark.long
async def test_services_of_three_roles_work_together(tmp_path: Path) -> None:
    path = tmp_path / "agents.yaml"
    path.write_text(DOCUMENT)
    with NatsServer() as server, ExitStack() as stack:
        async with open_broker(server.url) as broker:
            await App.from_document(load_document(path)).provision(broker)
        journal = stack.enter_context(service("logger", path, server.url))
        logged(journal, "service.ready")
        shop = stack.enter_context(service("producer", path, server.url))
        payloads = [logged(journal, "event.logged")["payload"] for _ in range(3)]
        assert payloads == ["one", "two", "three"]
        logged(shop, "producer.ended")
        chain = stack.enter_context(service("orchestrator", path, server.url))
        logged(chain, "service.ready")
        async with connect(server.url, namespace="modules") as client:
            result = await client.call("chain", {"deep": [1]}, timeout=PATIENCE_SECONDS)
        assert result.data == {"deep": [1]}
        assert result.meta["step_count"] == 2
