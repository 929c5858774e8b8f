"""The one message shape of Aixgo, its encoding, and the ids in it.

JSON on the wire, so that any NATS tool can read it. The payload stays raw bytes: a relay of an
envelope never decodes it. Unknown fields are ignored and every new field has a default, so older
and newer processes talk to each other (`tests/unit/test_envelope.py` decodes both).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from aixgo.errors import InvalidPayload

WIRE_VERSION = 1
"""Version of the envelope; raised only when an older reader would misunderstand a newer writer."""

CLAIM_CHECK_BYTES = 64 * 1024
"""Payloads over this many bytes travel through the object store; a broker's log stays small."""

Kind = Literal["call", "result", "event", "rpc", "reply"]
Status = Literal["done", "error", "expired", "cancelled"]


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a call and everything below it used: tokens, US dollars, number of model calls.

    `cost_usd` is the sum of the calls whose price is known; `unpriced_calls` counts the others, and
    while there is one the total cost is unknown (`cost` is None), never a wrong number.
    `cached_tokens` are part of the prompt's, `reasoning_tokens` of the completion's.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0
    cost_usd: float = 0.0
    unpriced_calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together; cached tokens are part of the prompt."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """US dollars, or None when a part of it is unknown."""
        return None if self.unpriced_calls else self.cost_usd

    def __add__(self, other: Usage) -> Usage:
        """Return the sum; nothing known becomes unknown or the other way round."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            model_calls=self.model_calls + other.model_calls,
            cost_usd=self.cost_usd + other.cost_usd,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
        )


NO_USAGE = Usage()
"""The sum of nothing; shared, because usage is frozen."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why a call ended without a value, as it travels in a result.

    Attributes:
        code: stable name of the error, `aixgo.errors.<class>.code` or a Python class name.
        message: the text for people.
        agent: where it began; an orchestrator passes its child's failure on with this kept.
        attempts: executions before it was given up.
        retryable: whether trying later may help.
    """

    code: str
    message: str
    agent: str = ""
    attempts: int = 1
    retryable: bool = False


class Blob(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Claim check of a payload in the object store: key, size in bytes, SHA-256 in hex."""

    key: str
    size: int
    sha256: str


class Override(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a fork of a run asks models otherwise, from a step on.

    Attributes:
        run: the fork.
        agent: whose model calls; empty when the fork asks nothing otherwise.
        step: the first that is done again; a model call at just this path is overridden also where
            its code names a model or a prompt.
        prompt: instead of the agent's own; empty leaves it.
        model: `provider/model` instead of the agent's own; empty leaves it.
    """

    run: str
    agent: str = ""
    step: str = ""
    prompt: str = ""
    model: str = ""


class Origin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a run began with, kept in the result of its own call: see the fields of `Envelope`."""

    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    blob: Blob | None = None
    meta: dict[str, Any] = {}
    overrides: tuple[Override, ...] = ()


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message between agents.

    Attributes:
        v: version of this shape.
        id: of this message; a call and its result have different ids.
        kind: call, result, event, rpc or reply.
        source: agent or client that sent it.
        target: agent that it is for; empty for an event.
        run: run id, the same for everything that one outside request caused.
        step: deterministic path of the step inside the run, such as `review/2/critic`; empty for
            the run's own call.
        payload: JSON, never decoded on the way.
        meta: the metadata contract (category, confidence, routed_to, …); arrives as it was set.
        usage: of this result and everything below it; of an event, and of the calls that its
            handling makes, what was used for the events that led to it.
        deadline: Unix seconds after which no caller waits; None for no deadline.
        depth: calls and events above this one; what comes from outside has 0.
        parent: step of the call that made this one, when `depth` is not 0; a result has its call's.
        budget: name of the budget that pays for the run; empty for none.
        attempt: executions that earlier publications of this call used up (delayed retries,
            parking); of a result, the executions that it took, 0 when there was none.
        excused: how many of those were no failures of the agent: the call was parked, its process
            died, or its dead letter was replayed.
        woken: it was published again by what it waited for, or because it was lost or dead. Its
            timers only wake what is parked, and its end wakes its caller.
        epoch: how often dead letters of the run were replayed; a call of a later epoch is another
            message to the broker, so that it does not take it for the one that failed.
        above: agents whose calls led to this one, the outermost first.
        traceparent, tracestate: W3C trace context.
        sent_at: Unix seconds.
        status, error: of a result.
        answers: of a result: id of the call that was executed for it.
        seconds: of a result: how long its last execution took.
        fingerprint: of the request, kept in its result, so that a replay notices changed code.
        blob: where the payload is, when it is too large to travel (`payload` is then null).
        overrides: of the forks that the run comes from, the latest last; inherited by every call.
        reused: of a result that a fork took over: the run that it was recorded in.
        origin: of the result of a run's own call, when it took steps: what the run began with.
    """

    v: int = WIRE_VERSION
    id: str
    kind: Kind
    source: str = ""
    target: str = ""
    run: str = ""
    step: str = ""
    payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    meta: dict[str, Any] = {}
    usage: Usage | None = None
    deadline: float | None = None
    depth: int = 0
    parent: str = ""
    budget: str = ""
    attempt: int = 0
    excused: int = 0
    woken: bool = False
    epoch: int = 0
    above: tuple[str, ...] = ()
    traceparent: str = ""
    tracestate: str = ""
    sent_at: float = 0.0
    status: Status | None = None
    error: Failure | None = None
    answers: str = ""
    seconds: float = 0.0
    fingerprint: str = ""
    blob: Blob | None = None
    overrides: tuple[Override, ...] = ()
    reused: str = ""
    origin: Origin | None = None

    @property
    def body(self) -> bytes:
        """The payload's JSON text; `null` when there is none."""
        return b"null" if self.payload is msgspec.UNSET else bytes(self.payload)

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, or empty when the envelope carries no trace."""
        return self.traceparent[3:35]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)
encode = _encoder.encode
"""Return the envelope as JSON bytes."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not what it reads."""


def decode(data: bytes) -> Envelope:
    """Return the envelope in `data`.

    Raises:
        InvalidPayload: not an envelope; names the field by its JSON path.
    """
    try:
        return _decoder.decode(data)
    except UNREADABLE as error:
        raise InvalidPayload(
            f"not an envelope: {error} (in {len(data):,} bytes beginning {data[:60]!r}); "
            "publish with an Aixgo client "
            "or send at least `id` and `kind` (subjects.md, 'Envelope')"
        ) from error


def new_id() -> str:
    """Return a time-ordered unique id, 32 hexadecimal digits.

    Source: UUID version 7, RFC 9562.
    """
    return f"{time.time_ns() // 1_000_000:012x}{next(_randomness, '') or _more_randomness()}"


_BATCH = 256
_RANDOM_BITS = int.from_bytes(bytes.fromhex("0fff3fffffffffffffff") * _BATCH)
_FIXED_BITS = int.from_bytes(bytes.fromhex("70008000000000000000") * _BATCH)
"""Version 7 and the variant, in each of the ids that are made at once."""
_randomness: Iterator[str] = iter(())
"""The part of ids that is not the time: version, variant and random digits."""


def _more_randomness() -> str:
    """Ask the system for the random digits of many ids at once: three quarters of an id's cost."""
    global _randomness
    random = int.from_bytes(os.urandom(10 * _BATCH)) & _RANDOM_BITS | _FIXED_BITS
    _randomness = iter(random.to_bytes(10 * _BATCH).hex(":", 10).split(":"))
    return next(_randomness)


def forget_randomness() -> None:
    """Let the next id ask the system again; a simulation asks its seed."""
    global _randomness
    _randomness = iter(())


if hasattr(os, "register_at_fork"):  # two processes must not make the same ids
    os.register_at_fork(after_in_child=forget_randomness)


def fingerprint(target: str, payload: bytes) -> str:
    """Return 22 characters that tell this request from another one: its target and its payload."""
    digest = hashlib.blake2b(payload, digest_size=11, key=target.encode()[:64])
    return digest.hexdigest()
