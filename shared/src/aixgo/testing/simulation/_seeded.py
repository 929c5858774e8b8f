"""Everything random, and the time of day, made from the seed, for as long as a simulation runs."""

from __future__ import annotations

import gc
import logging
import os
import random
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from aixgo import envelope
from aixgo.testing.virtual_time import VirtualTimeLoop

_EXPECTED_TO_COMPLAIN = (
    "aixgo.broker",
    "aixgo.calls",
    "aixgo.client",
    "aixgo.hosting.agent_service",
)
"""Loggers whose warnings are about faults that a simulation makes on purpose."""


@contextmanager
def clean_slate() -> Generator[None, None, None]:
    """Keep one seed from the next: no garbage of it is left, and no log of what it broke.

    The garbage collector waits meanwhile: when it runs depends on what else this process holds, and
    it may end generators. What never ran in a process that died needs no warning.
    """
    collects = gc.isenabled()
    loggers = [logging.getLogger(name) for name in _EXPECTED_TO_COMPLAIN]
    levels = [logger.level for logger in loggers]
    gc.disable()
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            gc.collect(0)
        if collects:
            gc.enable()


@contextmanager
def seeded(seed: int, loop: VirtualTimeLoop) -> Generator[None, None, None]:
    """Seed `random`, `os.urandom` (so `uuid.uuid4` too), ids and `time.time`; undo it at the end.

    Only this thread gets seeded bytes and virtual time.
    """
    me, bytes_of = threading.get_ident(), random.Random(seed).randbytes
    real_time, real_time_ns, real_urandom = time.time, time.time_ns, os.urandom

    def virtual_time() -> float:
        return loop.wall_time() if threading.get_ident() == me else real_time()

    def virtual_time_ns() -> int:
        if threading.get_ident() == me:
            return round(loop.wall_time() * 1_000_000) * 1_000
        return real_time_ns()

    def seeded_bytes(size: int, /) -> bytes:
        return bytes_of(size) if threading.get_ident() == me else real_urandom(size)

    state = random.getstate()
    replaced: Any = time
    try:
        random.seed(seed)
        replaced.time, replaced.time_ns = virtual_time, virtual_time_ns
        os.urandom = seeded_bytes
        envelope.forget_randomness()
        yield
    finally:
        replaced.time, replaced.time_ns = real_time, real_time_ns
        os.urandom = real_urandom
        envelope.forget_randomness()
        random.setstate(state)
