"""What a worker reads: the envelope in a delivery, completed and checked, or a refusal.

Any program may publish to a broker. What says too little is completed from its subject, so that the
documented minimum (`id` and `kind`) is a call; what says something that cannot be, or another thing
than its subject, is refused here, before anything is done under its name.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from msgspec.structs import replace

from aixgo.broker.port import Record
from aixgo.clock import is_sensible
from aixgo.envelope import Envelope, decode
from aixgo.errors import BadSubject, InvalidPayload, cut
from aixgo.subjects import ROOT_STEP, Names, StepSubject, checked_token, step_of, step_token, token

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LABEL = re.compile(r"[^\x00-\x1f\x7f-\x9f]{0,256}")
_PART = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_PATH = re.compile(r"[A-Za-z0-9_.:-]{1,128}(/[A-Za-z0-9_.:-]{1,128}){0,127}")


def read_call(names: Names, agent: str, subject: str, data: bytes) -> Envelope:
    """Return the call in a delivery of `call.…` or `wake.…`.

    Raises:
        InvalidPayload: it is not an envelope, an id in it cannot be, or it does not belong to its
            subject.
    """
    call = decode(data)
    _check(call)
    # as Aixgo itself publishes it
    if call.target == agent and subject.endswith(f".{agent}.{call.run}.{step_token(call.step)}"):
        return call
    place = names.parse(subject)
    if place is None:
        raise InvalidPayload(
            f"{cut(subject, 200)!r} is not the subject of a call: agent, run and step are one "
            "token each, of 1 to 32 characters (subjects.md)"
        )
    return _completed(call, place)


def read_event(names: Names, subject: str, data: bytes) -> Envelope:
    """Return the event in a delivery of `evt.…`.

    Raises:
        InvalidPayload: it is not an envelope, or an id in it cannot be.
    """
    event = decode(data)
    _check(event)
    if event.run and event.source:
        return event
    # the same for every subscriber and every delivery
    run = hashlib.blake2b(f"{subject} {event.id}".encode(), digest_size=16).hexdigest()
    return replace(event, run=event.run or run, source=event.source or names.source(subject))


def recorded_call(names: Names, record: Record) -> Envelope | None:
    """Return the call in a record of a queue, a timer or a note; None if it is not one.

    A time that cannot be is the record's own.
    """
    about = names.parse(record.subject)
    if about is None:
        return None
    try:
        call = decode(record.data)
        _check(call)
        call = _completed(call, about)
    except InvalidPayload:
        return None
    return call if is_sensible(call.sent_at) else replace(call, sent_at=record.time)


def _check(envelope: Envelope) -> None:
    """Refuse an envelope with an id that nothing can be named after."""
    if not _ID.fullmatch(envelope.id):
        raise InvalidPayload(
            f"the id {envelope.id[:80]!r} is not 1 to 128 printable ASCII characters without spaces"
        )
    if envelope.step:
        _check_path(envelope.step)
    if envelope.parent:
        _check_path(envelope.parent)
    if not _is_label(envelope.source):
        raise InvalidPayload(
            f"the source {envelope.source[:80]!r} is over 256 characters, or has control characters"
        )
    try:
        if envelope.run:
            checked_token(envelope.run, "run")
        if envelope.target:
            token(envelope.target, "target")
    except BadSubject as error:
        raise InvalidPayload(str(error)) from error


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path):
        raise InvalidPayload(
            f"the step {path[:80]!r} is not a path: up to 128 parts of 1 to 128 characters "
            "(A-Z, a-z, 0-9, '_', '.', ':' and '-') with '/' between them"
        )


@lru_cache(maxsize=1024)
def _is_label(source: str) -> bool:
    """Whether it can name a sender; there are few of them."""
    return _LABEL.fullmatch(source) is not None


def event_step(event: Envelope, agent: str) -> str:
    """Return the step in which an agent handles an event."""
    last = event.id[-12:]
    if not _PART.fullmatch(last):
        last = hashlib.blake2b(event.id.encode(), digest_size=6).hexdigest()
    return f"{event.step}/{agent}/{last}" if event.step else f"{agent}/{last}"


def _completed(call: Envelope, place: StepSubject) -> Envelope:
    """Return a call that says whose step it is, as its subject does."""
    step = call.step or step_of(place.step)
    if step is None:
        raise InvalidPayload(
            f"the call names no step, and its subject only a digest ({place.step!r}); give the "
            "path as `step`"
        )
    run, target = call.run or place.run, call.target or place.agent
    complete = replace(call, run=run, target=target, step=step)
    if (complete.target, complete.run, step_token(step)) == place[1:]:
        return complete
    if call.step == ROOT_STEP == place.step:
        raise InvalidPayload(
            "the call says `step`: 'root', and the run's own call has an empty step; leave `step` "
            f"out ({ROOT_STEP!r} is only its token in a subject)"
        )
    if (complete.target, complete.run) == (place.agent, place.run):
        raise InvalidPayload(
            f"the call says that it is step {step!r}, whose token in a subject is "
            f"{step_token(step)!r}, and its subject has {place.step!r} there (subjects.md)"
        )
    raise InvalidPayload(
        f"the call says that it is step {complete.step!r} of run {complete.run!r} for agent "
        f"{complete.target!r}, and its subject says step {place.step!r} of run {place.run!r} "
        f"for agent {place.agent!r}"
    )
