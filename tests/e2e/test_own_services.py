"""`examples/own-services` as three images, as its compose file says."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aixgo import connect

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def broker(engine: None) -> Iterator[str]:
    """The address of the server of the running example; nothing of it is left afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def compose(*words: str, timeout: float) -> str:
        project = ["--project-name", f"aixgo-own-{os.getpid()}", "--progress", "plain"]
        done = subprocess.run(
            ["docker", "compose", "-f", "examples/own-services/compose.yaml", *project, *words],
            cwd=ROOT,
            env={**os.environ, "AIXGO_NATS_PORT": str(port)},
            stdout=subprocess.PIPE,
            text=True,
            timeout=timeout,
            check=True,
        )
        return done.stdout

    try:
        compose("up", "--build", "--wait", "--wait-timeout", "240", timeout=800)
        yield f"nats://127.0.0.1:{port}"
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{compose('logs', '--no-color', '--tail', '50', timeout=60)}")
    finally:
        compose("down", "--volumes", "--timeout", "40", timeout=120)


async def test_three_images_make_one_offer(broker: str) -> None:
    async with connect(broker) as client:
        assert sorted(await client.agents()) == ["desk", "price", "stock"]
        offer = await client.call("desk", {"item": "chair", "count": 2}, timeout=60)
    assert offer.data == {"item": "chair", "total": 178.0, "in_days": 1}
