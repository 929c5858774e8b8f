"""Dead letters: what could not be handled is kept with its cause, never dropped."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec
from msgspec.structs import replace

from aixgo.broker.port import Broker, Record
from aixgo.calls.foreign import Foreign
from aixgo.clock import is_sensible, now
from aixgo.envelope import UNREADABLE, Envelope, Failure, Usage
from aixgo.errors import InvalidPayload, NoDeadLetter, cut
from aixgo.subjects import DLQ, Names

_SUBJECT_CHARACTERS = 1_024
"""Of an original subject that are kept; one of Aixgo's own has about 120."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of the DLQ stream.

    Attributes:
        stream: short name of the stream that the message came from.
        subject: its subject there, up to 1,024 characters of it.
        agent: the agent that could not handle it.
        failure: cause and attempts.
        at: Unix seconds.
        envelope: the original message; None when it could not be read.
        raw: Base64 of the original bytes when they are not an envelope.
        usage: what the failed executions used.
        edited: whether a person has changed the payload since.
    """

    stream: str
    subject: str
    agent: str
    failure: Failure
    at: float
    envelope: Envelope | None = None
    raw: str = ""
    usage: Usage | None = None
    edited: bool = False

    @property
    def run_id(self) -> str:
        """The run that the message belongs to; empty when it could not be read."""
        return self.envelope.run if self.envelope is not None else ""


class Numbered(msgspec.Struct, frozen=True):
    """A dead letter with its number, by which people name it."""

    number: int
    letter: DeadLetter


_decoder = msgspec.json.Decoder(DeadLetter)
_encoder = msgspec.json.Encoder()


def decode_dead_letter(data: bytes) -> DeadLetter:
    """Return the entry in a record of the DLQ stream.

    Raises:
        InvalidPayload: it is not one.
    """
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise InvalidPayload(f"not a dead letter: {error} (in {len(data):,} bytes)") from error


class DeadLetters:
    """The DLQ of a namespace: write, read, edit, remove.

    Attributes:
        lost: dead letters for which this process found no room up to now.
    """

    def __init__(self, broker: Broker, names: Names, foreign: Foreign) -> None:
        self._broker, self._names, self._foreign = broker, names, foreign
        self._stream = names.stream(DLQ)
        self.lost = 0

    async def add(
        self,
        subject: str,
        data: bytes,
        *,
        agent: str,
        failure: Failure,
        envelope: Envelope | None,
        sequence: int,
        usage: Usage | None = None,
    ) -> int:
        """Keep a message that could not be handled, once; returns its number.

        Args:
            sequence: of the message in its stream.
        """
        stream = self._names.kept_in(subject)
        letter: dict[str, Any] = {
            "stream": stream,
            "subject": cut(subject, _SUBJECT_CHARACTERS),
            "agent": agent,
            "failure": failure,
            "at": now(),
            "envelope": envelope,
            "usage": usage,
        }
        if envelope is None:
            letter["raw"] = base64.b64encode(data).decode()
        entry = DeadLetter(**letter)
        digest = hashlib.sha256(data).hexdigest()[:32]
        original = envelope.id if envelope is not None else f"{stream}.{sequence}.{digest}"
        appended = await self._broker.append(
            self._names.dead_letter(stream, subject),
            _encoder.encode(entry),
            msg_id=f"{agent}.{original}",
        )
        return appended.sequence

    async def list(self, *, run: str = "", agent: str = "") -> list[Numbered]:
        """Return the dead letters, oldest first: all, or those of a run or an agent.

        What is not one is left out, and counted (`Space.foreign`).
        """
        records = await self._broker.read(self._stream, self._names.dead_letters)
        found = [one for one in map(self._numbered, records) if one is not None]
        return [
            one
            for one in found
            if run in ("", one.letter.run_id) and agent in ("", one.letter.agent)
        ]

    async def get(self, number: int) -> DeadLetter:
        """Return a dead letter.

        Raises:
            NoDeadLetter: there is none of that number.
            InvalidPayload: another program's record has it.
        """
        record = await self._broker.at(self._stream, number) if number > 0 else None
        if record is None:
            raise NoDeadLetter(number)
        return decode_dead_letter(record.data)

    def _numbered(self, record: Record) -> Numbered | None:
        try:
            letter = decode_dead_letter(record.data)
        except InvalidPayload:
            self._foreign.add(record)
            return None
        if not is_sensible(letter.at):
            letter = replace(letter, at=record.time)
        return Numbered(record.sequence, letter)

    async def edit(self, number: int, payload: bytes) -> int:
        """Replace the payload of a dead letter; returns its new number.

        Args:
            payload: JSON text.

        Raises:
            NoDeadLetter: there is none of that number.
            InvalidPayload: the payload is no JSON, or the letter never was a message.
        """
        letter = await self.get(number)
        if letter.envelope is None:
            raise InvalidPayload(
                f"dead letter {number} could not be read as a message, so it has no payload to "
                "edit; purge it, and send the message again"
            )
        try:
            msgspec.json.decode(payload)
        except msgspec.DecodeError as error:
            raise InvalidPayload(f"the new payload is no JSON: {error}") from error
        envelope = replace(letter.envelope, payload=msgspec.Raw(payload), blob=None)
        appended = await self._broker.append(
            self._names.dead_letter(letter.stream, letter.subject),
            _encoder.encode(replace(letter, envelope=envelope, edited=True)),
        )
        await self._broker.delete_record(self._stream, number)
        return appended.sequence

    async def remove(self, number: int) -> None:
        """Forget a dead letter.

        Raises:
            NoDeadLetter: there is none of that number.
        """
        if number < 1 or await self._broker.at(self._stream, number) is None:
            raise NoDeadLetter(number)
        await self._broker.delete_record(self._stream, number)

    async def forget(self, number: int) -> None:
        """Take a dead letter back, if it is there: what it is about did not fail after all."""
        await self._broker.delete_record(self._stream, number)

    async def purge(self) -> int:
        """Forget all dead letters; returns how many."""
        return await self._broker.purge(self._stream)
