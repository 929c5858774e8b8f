"""Imports nats-py without aiohttp.

nats-py loads aiohttp wherever it is installed, for servers over WebSockets, which Aixgo does not
connect to: 11 MB and a tenth of a second for every process of agents. What asks for aiohttp itself,
such as a tool over HTTP, gets it as ever.
"""

from __future__ import annotations

import sys
from importlib import import_module


def import_client() -> None:
    """Import nats-py; aiohttp counts as not installed meanwhile, unless it is loaded already.

    Raises:
        ImportError: nats-py is not installed.
    """
    if "aiohttp" in sys.modules:
        import_module("nats.aio.client")
        return
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # what the import system takes for absent
    try:
        import_module("nats.aio.client")
    finally:
        del sys.modules["aiohttp"]
