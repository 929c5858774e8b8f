"""The message id of a call: the same publication twice is one message to the broker."""

from __future__ import annotations

from aixgo.envelope import Envelope
from aixgo.subjects import step_id


def publication(call: Envelope) -> str:
    """Return the `Nats-Msg-Id` of a call's publication.

    It is the step's id at first. A retry by timer, a wake-up and a replay publish the step again on
    purpose, so their ids differ.
    """
    step = step_id(call.target, call.run, call.step)
    if not call.attempt and not call.epoch:
        return step
    return f"{step}:{call.epoch}.{call.attempt}.{call.excused}"
