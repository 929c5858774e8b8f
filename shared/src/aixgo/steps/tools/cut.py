"""Values that are longer than a tool's `max_result`: a text that is cut, and says so."""

from __future__ import annotations

import msgspec

from aixgo.tools.port import ToolSpec

CUT = "cut"
"""In the metadata of a result: bytes of the whole value, of which the result has the beginning."""


def shortened(value: msgspec.Raw, spec: ToolSpec) -> tuple[msgspec.Raw, int]:
    """Return a value as it is recorded, and the bytes of the whole one when it was cut, else 0.

    What is cut is a text with a note at its end: the value itself if it is one, else its JSON.
    """
    limit, body = spec.max_result, bytes(value)
    if not limit or len(body) <= limit:
        return value, 0
    text = msgspec.json.decode(body) if body.startswith(b'"') else body.decode()
    note = (
        f"\n[cut here: the result has {len(body):,} bytes and the limit is {limit:,} bytes; ask "
        f"for less, or raise `max_result` of tool {spec.name!r}]"
    )
    room = limit - len(msgspec.json.encode(note))
    kept = text.encode()[: max(room, 0)].decode(errors="ignore")
    while True:  # what JSON writes as escapes is longer than it is
        shown = msgspec.json.encode(kept + note)
        if len(shown) <= limit or not kept:
            return msgspec.Raw(shown), len(body)
        kept = kept[: len(kept) * room // len(shown)]
