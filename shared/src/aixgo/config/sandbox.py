"""What documents say of a sandbox."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from aixgo.config.agents import Options
from aixgo.config.durations import PositiveDuration
from aixgo.config.sizes import Size


class SandboxOptions(Options):
    """Limits of the process that a sandboxed function runs in."""

    cpu: Annotated[PositiveDuration, Field(ge=1.0)] = 5.0
    """Processor time, the start of the interpreter included; whole seconds."""
    memory: Annotated[Size, Field(ge=64 * 2**20)] = 256 * 2**20
    """Address space, of which the interpreter takes about 50 MB."""
    files: Size = 10 * 2**20
    """Longest file that it may write. Its working directory is its own, and goes with it."""
    network: bool = False
    """Whether it has the network; without it, it cannot even reach its own machine."""

    @property
    def cpu_seconds(self) -> int:
        """`cpu` in whole seconds, as the kernel counts it."""
        return math.ceil(self.cpu)
