"""Tools that may be executed again: retried by their policy, recorded when they have ended."""

from __future__ import annotations

import asyncio

from aixgo.calls.retry import next_delay
from aixgo.clock import now
from aixgo.envelope import Envelope
from aixgo.errors import DeadlineExceeded, code_of
from aixgo.payloads import to_payload
from aixgo.steps.tools.step import ToolStep, log
from aixgo.tools.port import Arguments


async def repeat(step: ToolStep, arguments: Arguments) -> Envelope:
    """Execute a `read` or `idempotent` tool until it succeeds or its policy gives it up.

    Raises:
        DeadlineExceeded: the run's time is over, which says nothing of the tool: not recorded.
    """
    # looked for in a first execution too: a broker that crashed may have forgotten an earlier one
    standing = await step.standing()
    if standing is not None:
        return standing
    known = step.cached()
    if known is not None:
        return await step.done(known, 0, 0.0)
    loop = asyncio.get_running_loop()
    attempt = 0
    while True:
        attempt += 1
        began = loop.time()
        try:
            async with step.place():
                began = loop.time()
                value = await step.execute(arguments, step.context(attempt, step.end_of(now())))
            payload = to_payload(value)
            step.tool.read(bytes(payload))
        except Exception as error:
            if isinstance(error, DeadlineExceeded) and step.is_over:
                raise
            delay = next_delay(step.tool.spec.retry, attempt, error)
            if delay is None:
                return await step.failed(error, attempt, loop.time() - began)
            log.warning(
                "tool.again",
                extra={
                    **step.fields,
                    "attempt": attempt,
                    "error": code_of(error),
                    "retry_in": delay,
                },
            )
            await asyncio.sleep(delay)
        else:
            step.cache(payload)
            return await step.done(payload, attempt, loop.time() - began)
