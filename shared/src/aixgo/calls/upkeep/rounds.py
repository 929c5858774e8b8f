"""One loop for what looks again and again after a stream."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from aixgo.errors import PermissionDenied, code_of

log = logging.getLogger("aixgo.calls")


class Rounds(Protocol):
    """What looks after a stream.

    Attributes:
        what: it looks after, in the log, such as `results`.
        pause: seconds to the next look; each look may change it.
        calm: seconds to the next look after one that failed.
    """

    what: str
    pause: float
    calm: float

    async def look(self) -> object:
        """Do what is due now; cheap when nothing is."""
        ...


async def make_rounds(keeper: Rounds) -> None:
    """Look whenever it is time, until cancelled; return where that is not allowed."""
    while True:
        await asyncio.sleep(keeper.pause)
        try:
            await keeper.look()
        except PermissionDenied as error:
            log.warning("%s.not_swept_here", keeper.what, extra={"error": str(error)})
            return
        except Exception as error:  # whatever it is, the next look may succeed
            fields = {"error": code_of(error)}
            log.warning("%s.not_swept", keeper.what, extra=fields, exc_info=error)
            keeper.pause = keeper.calm
