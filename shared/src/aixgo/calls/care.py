"""Care for what is at work: kept by heartbeats, stopped when it is in vain, left when it is stuck.

One task does it for all executions of a worker, so a call pays nothing for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aixgo.calls.space import Space
from aixgo.calls.work import Work
from aixgo.clock import now, timer
from aixgo.errors import BrokerError, InvalidPayload, code_of

log = logging.getLogger("aixgo.calls")

STUCK_SECONDS = 10.0
"""For a handler to stop when it is told to; one that does not keeps its slot no longer."""

_PATIENCE_SECONDS = 3600.0
"""For what was taken in place of a stuck execution, where no limit is known."""


class Care:
    """Looks after the executions of one worker.

    Args:
        work: what is at work, by step.
        longest: seconds that an execution may take; None for no limit of its own.
        leave: answers a delivery without its handler, and finds another slot.

    Attributes:
        left: executions that did not stop when they were told to, and go on.
    """

    def __init__(
        self,
        space: Space,
        agent: str,
        work: Mapping[str, Work],
        ack_wait: float,
        longest: float | None,
        leave: Callable[[Work], Awaitable[None]],
    ) -> None:
        self._results, self._agent, self._work = space.results, agent, work
        self._period, self._longest, self._leave = ack_wait / 3, longest, leave
        self._time = timer(asyncio.get_running_loop())
        self.left: set[Work] = set()

    async def run(self) -> None:
        """Do it until cancelled."""
        while True:
            await asyncio.sleep(self._period)
            try:
                await self._beat()
            except Exception as error:  # whatever it is, the next beat must come
                log.warning(
                    "heartbeat.failed",
                    extra={"agent": self._agent, "error": code_of(error)},
                    exc_info=error,
                )

    async def _beat(self) -> None:
        for work in list(self._work.values()):
            try:
                await work.delivery.in_progress()
            except BrokerError:
                break  # disconnected: the next beat tries again
        with suppress(TimeoutError, BrokerError):
            async with asyncio.timeout(self._period / 4):
                for work in list(self._work.values()):
                    await self._stop_if_settled(work)
        held = [work for work in self._work.values() if work.hold is not None]
        if held:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period):
                    await asyncio.gather(*map(self._renew, held))
        for work in list(self._work.values()):
            if self._is_stuck(work):
                await self._give_up(work)

    def complain(self) -> None:
        """Say what runs on although the worker has stopped."""
        for work in {*self._work.values(), *self.left}:
            log.error(
                "handler.does_not_stop",
                extra={
                    "agent": self._agent,
                    "run": work.request.run,
                    "step": work.request.step,
                    "error": "it catches CancelledError and goes on; let it pass",
                },
            )

    async def is_back(self, work: Work) -> None:
        """Take note that a handler that was left has ended after all."""
        self.left.discard(work)
        if work.instead is not None:
            instead, work.instead = work.instead, None
            # what it has at work shall finish
            await instead.stop(grace=self._longest or _PATIENCE_SECONDS)

    async def _stop_if_settled(self, work: Work) -> None:
        """Stop what has its result: a cancel signal can be lost, its record cannot."""
        request = work.request
        try:
            standing = await self._results.get(self._agent, request.run, request.step)
        except InvalidPayload:
            return  # another program's record; the execution's own end will say so
        if standing is None or work.task is None or work.cancelled is not None:
            return
        failure = standing.error
        work.cancelled = "it has its result already" if failure is None else failure.message
        work.stop(self._time())

    async def _renew(self, work: Work) -> None:
        """Keep the hold on an exclusive call, or stop the handler at once when it is lost."""
        if work.hold is None:
            return
        try:
            held = await work.hold.renew()
        except BrokerError:
            return  # the next beat tries again
        if not held and work.cancelled is None:
            work.stop(self._time())

    def _is_stuck(self, work: Work) -> bool:
        """Whether an execution has had its time to stop."""
        if work.task is None or work.left:
            return False
        moment = self._time()
        if work.stopping is not None:
            return moment - work.stopping > STUCK_SECONDS
        deadline = work.request.deadline
        if deadline is not None and now() > deadline + STUCK_SECONDS:
            return True
        return self._longest is not None and moment - work.since > self._longest + STUCK_SECONDS

    async def _give_up(self, work: Work) -> None:
        work.left = True
        self.left.add(work)
        log.error(
            "handler.left",
            extra={
                "agent": self._agent,
                "run": work.request.run,
                "step": work.request.step,
                "error": (
                    f"it did not stop within {STUCK_SECONDS:g} s; its call is answered and its "
                    "slot goes to others. Let CancelledError pass in the handler"
                ),
            },
        )
        try:
            await self._leave(work)
        except BrokerError as error:
            work.left = False  # the next beat tries again
            self.left.discard(work)
            log.warning("handler.not_left", extra={"agent": self._agent, "error": error.code})
