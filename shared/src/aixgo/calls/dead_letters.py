"""Dead letters: what could not be handled is kept with its cause, never dropped."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from aixgo.broker._port import Broker
from aixgo.clock import now
from aixgo.envelope import Envelope, Failure, Usage
from aixgo.subjects import CALLS, EVENTS, Names


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of the DLQ stream.

    Attributes:
        stream: short name of the stream that the message came from.
        subject: its subject there.
        agent: the agent that could not handle it.
        failure: cause and attempts.
        at: Unix seconds.
        envelope: the original message; None when it could not be read.
        raw: Base64 of the original bytes when they are no envelope.
        usage: what the failed executions used.
    """

    stream: str
    subject: str
    agent: str
    failure: Failure
    at: float
    envelope: Envelope | None = None
    raw: str = ""
    usage: Usage | None = None


_decoder = msgspec.json.Decoder(DeadLetter)
_encoder = msgspec.json.Encoder()


def decode_dead_letter(data: bytes) -> DeadLetter:
    """Return the entry in a record of the DLQ stream."""
    return _decoder.decode(data)


class DeadLetters:
    """Writes the DLQ of a namespace."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self._broker, self._names = broker, names

    async def add(
        self,
        subject: str,
        data: bytes,
        *,
        agent: str,
        failure: Failure,
        envelope: Envelope | None,
        usage: Usage | None = None,
    ) -> None:
        """Keep a message that could not be handled; the same failure twice is kept once."""
        stream = EVENTS if ".evt." in subject else CALLS
        letter: dict[str, Any] = {
            "stream": stream,
            "subject": subject,
            "agent": agent,
            "failure": failure,
            "at": now(),
            "envelope": envelope,
            "usage": usage,
        }
        if envelope is None:
            letter["raw"] = base64.b64encode(data).decode()
        entry = DeadLetter(**letter)
        original = envelope.id if envelope is not None else hashlib.sha256(data).hexdigest()[:32]
        await self._broker.append(
            self._names.dead_letter(stream, subject),
            _encoder.encode(entry),
            msg_id=f"{agent}.{original}.{failure.attempts}",
        )
