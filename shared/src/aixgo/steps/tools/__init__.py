"""Uses of tools as durable steps: once and for ever, or in doubt until its end is known."""

from __future__ import annotations

from aixgo.envelope import Envelope
from aixgo.steps.tools.cut import CUT
from aixgo.steps.tools.journal import Doubt, Reservation, noted
from aixgo.steps.tools.once import Once
from aixgo.steps.tools.repeat import repeat
from aixgo.steps.tools.step import ToolStep

__all__ = ["CUT", "Doubt", "Reservation", "ToolStep", "noted", "perform"]


async def perform(step: ToolStep) -> Envelope:
    """Execute the tool of a step that has no result yet, and return the result that stands.

    Raises:
        InvalidPayload: the arguments do not fit; nothing was executed.
        ReplayMismatch: an execution of the step was begun with other arguments.
        DeadlineExceeded: the run's time is over.
        Parked: the step is in doubt, and another owner's time is not over or a person is asked.
    """
    arguments = step.tool.arguments(step.payload)
    if step.tool.spec.effect == "once":
        return await Once(step, arguments).run()
    return await repeat(step, arguments)
