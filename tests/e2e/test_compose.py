"""`docker compose up` as the README says it: images are built, all is healthy, it answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HELPERS = {"nats", "provision"}
SERVICES = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]) - HELPERS

pytestmark = [pytest.mark.containers, pytest.mark.local_model, pytest.mark.timeout(900)]


class Compose:
    """The project's compose file under a name and a port of this test."""

    def __init__(self, name: str, port: int) -> None:
        self.port = port
        self._command = ["docker", "compose", "--project-name", name, "--progress", "plain"]
        self._env = {**os.environ, "AIXGO_NATS_PORT": str(port)}

    def __call__(self, *arguments: str, timeout: float = 60.0) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout

    @contextmanager
    def follow(self, service: str, timeout: float = 120.0) -> Iterator[Iterator[str]]:
        """Yield the lines of a service's log as they come; they end after `timeout` seconds."""
        options = ["logs", "--follow", "--no-log-prefix", "--no-color", service]
        with subprocess.Popen(
            [*self._command, *options], cwd=ROOT, env=self._env, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            late = Timer(timeout, process.kill)
            late.start()
            try:
                yield iter(process.stdout)
            finally:
                late.cancel()
                process.kill()

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine knows about each service's container."""
        names = {}
        for line in self("ps", "--all", "--format", "json").splitlines():
            row = json.loads(line)
            names[row["Service"]] = row["ID"]
        details = subprocess.run(
            ["docker", "inspect", *names.values()], stdout=subprocess.PIPE, timeout=30, check=True
        )
        return dict(zip(names, json.loads(details.stdout), strict=True))


@pytest.fixture(scope="module")
def compose(engine: None) -> Iterator[Compose]:
    """The whole system, up and healthy; nothing of it is left afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    compose = Compose(f"aixgo-test-{os.getpid()}", port)
    try:
        compose("up", "--build", "--wait", "--wait-timeout", "240", timeout=800)
        yield compose
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{compose('logs', '--no-color', '--tail', '50')}")
    finally:
        compose("down", "--volumes", "--timeout", "30", timeout=120)


def test_every_service_is_healthy_unprivileged_and_cannot_write_its_image(
    compose: Compose,
) -> None:
    containers = compose.containers()
    assert containers.keys() == SERVICES | HELPERS
    assert containers["provision"]["State"]["ExitCode"] == 0
    for name in SERVICES:
        container = containers[name]
        assert container["State"]["Health"]["Status"] == "healthy", name
        assert container["RestartCount"] == 0, name
        assert container["Config"]["User"] == "65534:65534", name
        assert container["HostConfig"]["ReadonlyRootfs"], name
        assert not container["NetworkSettings"]["Ports"].get("8081/tcp"), name


def test_the_command_line_outside_gets_an_answer_of_the_local_model(
    compose: Compose, ask: Callable[[str], dict[str, Any]]
) -> None:
    answer = ask(f"nats://127.0.0.1:{compose.port}")
    assert answer["text"].strip()
    assert answer["meta"]["routed_to"] in {"billing", "technical", "general"}
    assert answer["usage"]["total_tokens"] > 0


def test_events_flow_from_the_sensor_through_the_model_to_the_journal(compose: Compose) -> None:
    with compose.follow("logger") as lines:
        logged = (json.loads(line) for line in lines)
        report = next(entry for entry in logged if entry.get("source") == "reporter")
    assert report["message"] == "event.logged"
    assert report["payload"].strip()


def test_services_drain_when_they_are_told_to_stop(compose: Compose) -> None:
    compose("stop", "--timeout", "30", *SERVICES, timeout=120)
    stopped = compose.containers()
    assert {name: stopped[name]["State"]["ExitCode"] for name in SERVICES} == dict.fromkeys(
        SERVICES, 0
    )
    compose("up", "--wait", timeout=120)  # as the other tests expect it
