"""What is written of a message: a record with fields, as JSON or as text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from aixgo import Context, Message
from aixgo.clock import now, rfc3339
from aixgo.printable import printable

Format = Literal["json", "text"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A message as it is written.

    Attributes:
        level: as `logging` counts.
        fields: by name, in the order in which they are written.
    """

    level: int
    fields: Mapping[str, Any]

    def json(self) -> bytes:
        """Return it as one line of JSON, without the line break."""
        return msgspec.json.encode(self.fields)

    def text(self) -> bytes:
        """Return it as one line for people, without the line break."""
        fields = self.fields
        payload = fields["payload"]
        said = payload if isinstance(payload, str) else msgspec.json.encode(payload).decode()
        cut = f" … ({fields['cut_chars']:,} characters more)" if fields["cut_chars"] else ""
        line = (
            f"{fields['time']} {fields['level'].upper():<8} {fields['source'] or '-'} "
            f"{fields['run']} {said}{cut}"
        )
        return printable(line.replace("\n", "\\n")).encode()


def record_of(message: Message, ctx: Context, agent: str, level: int, max_chars: int) -> Record:
    """Return what is written of a message.

    Args:
        max_chars: longest payload; a longer one is written as the beginning of its text.
    """
    text = message.text
    cut = max(0, len(text) - max_chars)
    return Record(
        level=level,
        fields={
            "time": rfc3339(now()),
            "level": logging.getLevelName(level).lower(),
            "agent": agent,
            "kind": message.kind,
            "source": message.source,
            "run": message.run_id,
            "step": ctx.step,
            "trace_id": message.trace_id,
            "meta": dict(message.meta),
            "payload": text[:max_chars] if cut else message.data,
            "cut_chars": cut,
        },
    )
