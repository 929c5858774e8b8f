"""Events that are messages of other systems: sent to a subject, or kept in a stream."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import msgspec

from aixgo.agents.role import Heard, Listening
from aixgo_services.producer.outlet import Outlet

_SUBJECT = re.compile(r"[^\s.*>]+(\.(\*|[^\s.*>]+))*(\.>)?")
_OWN = re.compile(r"aixgo(\.|$)|[$_]")
_STREAM = re.compile(r"[^\s.*>/\\]{1,255}")


def subject_problem(subject: str) -> str:
    """Return what is wrong with a subject to listen to; empty when nothing is."""
    if not _SUBJECT.fullmatch(subject):
        return (
            f"{subject!r:.80} is not a subject to listen to; write tokens joined by single dots, "
            "the first one a word, with '*' for any token and '>' for all that follow"
        )
    if _OWN.match(subject):
        return (
            f"{subject!r:.80} is a subject of Aixgo itself or of the server; events of agents come "
            "with `inputs`"
        )
    return ""


def stream_problem(stream: str) -> str:
    """Return what is wrong with the name of another system's stream; empty when nothing is."""
    if not _STREAM.fullmatch(stream):
        return f"{stream!r:.80} cannot be the name of a stream"
    if re.match(r"(KV_|OBJ_)?aixgo-", stream):
        return f"{stream!r:.80} is a stream of Aixgo itself; events of agents come with `inputs`"
    return ""


async def from_messages(outlet: Outlet, to: Listening, count: int) -> None:
    """Publish each message as an event.

    What a stream keeps has a key, so it is one event however often it is delivered.

    Args:
        count: events after which it ends; 0 for no such end.
    """

    async def take(heard: Heard) -> bool:
        meta = {"subject": heard.subject}
        await outlet.publish(event_of(heard.data), _key(heard), meta)
        return not count or outlet.published < count

    await outlet.feed.listen(to, take)


def event_of(data: bytes) -> Any:
    """Return the event in a message: its JSON, else its text, else `{"base64": …}`."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _key(heard: Heard) -> str:
    if not heard.key:
        return ""
    # a stream that was made anew counts from 1 again
    digest = hashlib.blake2b(heard.subject.encode() + b" " + heard.data, digest_size=6)
    return f"{heard.key}.{digest.hexdigest()}"
