"""NATS in a container, every service a process of its own, the real local model."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples/quickstart/agents.yaml"
AIXGO = Path(sys.executable).with_name("aixgo")
ROLES = ("llm", "classifier", "react", "orchestrator")
DRAIN_SECONDS = 30
"""A service drains for at most 25 s; the rest is for its telemetry and its exit."""

pytestmark = [pytest.mark.containers, pytest.mark.local_model, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def broker(engine: None) -> Iterator[str]:
    """A server in a container, as `deploy/` configures it, provisioned for the quickstart."""
    server = (
        DockerContainer("nats:2.12-alpine")
        .with_command("--config /etc/nats/nats-server.conf")
        .with_volume_mapping(ROOT / "deploy/nats", "/etc/nats", "ro")
        .with_exposed_ports(4222)
        .waiting_for(LogMessageWaitStrategy("Server is ready").with_startup_timeout(30))
    )
    with server:
        url = f"nats://{server.get_container_host_ip()}:{server.get_exposed_port(4222)}"
        subprocess.run([AIXGO, "provision", QUICKSTART, "--broker", url], timeout=60, check=True)
        yield url


@pytest.fixture
def services(broker: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """One process per role; what a test leaves running is killed."""
    with ExitStack() as stack:
        processes = {}
        for role in ROLES:
            options: list[str | Path] = [
                "--file",
                QUICKSTART,
                "--broker",
                broker,
                "--health-port",
                "0",
            ]
            process = subprocess.Popen([AIXGO, "service", "--role", role, *options])
            stack.enter_context(process)
            stack.callback(process.kill)
            processes[role] = process
        yield processes


def test_services_answer_over_the_containers_broker_and_drain_on_sigterm(
    broker: str,
    services: dict[str, subprocess.Popen[bytes]],
    ask: Callable[[str], dict[str, Any]],
) -> None:
    # nobody waited for the services: the call is durable and waits for them
    answer = ask(broker)
    assert answer["text"].strip()
    assert answer["meta"]["pattern"] == "router"
    assert answer["meta"]["routed_to"] in {"billing", "technical", "general"}
    assert answer["usage"]["total_tokens"] > 0

    for process in services.values():
        process.send_signal(signal.SIGTERM)
    codes = {role: process.wait(DRAIN_SECONDS) for role, process in services.items()}
    assert codes == dict.fromkeys(ROLES, 0)
