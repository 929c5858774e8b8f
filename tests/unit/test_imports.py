"""What is loaded when: importing is cheap, heavy clients stay in their adapters."""

from __future__ import annotations

import json
import subprocess
import sys

import aixgo

HEAVY = {"nats", "aiohttp", "httpx", "litellm", "opentelemetry.sdk", "typer", "rich", "yaml"}


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_aixgo_loads_no_client_library() -> None:
    modules = loaded_after("import aixgo")
    assert not modules & (HEAVY | {"msgspec", "pydantic", "asyncio"})


def test_every_public_name_is_there_and_nothing_heavy_comes_with_them() -> None:
    assert all(getattr(aixgo, name) is not None for name in aixgo.__all__)
    modules = loaded_after("import aixgo\nfor name in aixgo.__all__: getattr(aixgo, name)")
    assert not modules & HEAVY


def test_a_run_over_the_memory_broker_loads_no_client_library() -> None:
    modules = loaded_after(
        """
import asyncio
from aixgo import Agent, App

async def echo(text: str) -> str:
    return text

async def main():
    async with App(agents=[Agent("echo", echo)]).running() as system:
        assert (await system.call("echo", "hi")).text == "hi"

asyncio.run(main())
"""
    )
    assert not modules & HEAVY


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    assert not hasattr(aixgo, "Agnet")


def test_the_nats_broker_loads_no_aiohttp_although_it_is_installed() -> None:
    assert "aiohttp" not in loaded_after("import aixgo.broker.nats, nats.aio.transport")
    assert "aiohttp" in loaded_after("import aixgo.broker.nats, aiohttp; aiohttp.ClientSession")
