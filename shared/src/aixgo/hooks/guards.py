"""The guards that are shipped: what each does with what it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from aixgo.config.hooks import (
    Guard,
    InjectionGuard,
    JsonSchemaGuard,
    PiiGuard,
    RegexGuard,
    SizeGuard,
)
from aixgo.errors import ConfigError, InvalidPayload, cut
from aixgo.hooks.injection import signs_in
from aixgo.hooks.pii import Pii
from aixgo.hooks.port import AskPerson, Change, Hooked, HookFunction, Note, Outcome, Refuse
from aixgo.hooks.texts import texts_in, with_texts
from aixgo.models.port import ChatResponse
from aixgo.payloads import to_payload
from aixgo.tools.json_schema import findings, validator_for

PATTERN_SECONDS = 1.0
"""For which a regular expression may look at one value; what takes longer is refused, so that no
text can stop a process by being hard to match."""

MOST_CHARS = 1_000_000
"""Of one value that `pii` and `regex` look through, which takes half a second of the process; a
longer one is refused. A `size` guard before them says so in its own words, and sooner."""

_SHOWN = 200


def guard(spec: Guard) -> HookFunction:
    """Return the function of a guard.

    Raises:
        ConfigError: its pattern or its schema is none, or a package that it needs is missing.
    """
    match spec:
        case SizeGuard():
            return _size(spec)
        case RegexGuard():
            return _regex(spec)
        case PiiGuard():
            return _pii(spec)
        case InjectionGuard():
            return _injection(spec)
        case JsonSchemaGuard():
            return _json_schema(spec)


def _verdict(action: str, event: Hooked, reason: str) -> Outcome:
    match action:
        case "ask":
            what = f" {event.name!r}" if event.name else ""
            where = event.point.replace("_", " the ", 1)
            return AskPerson(f"{reason} ({where}{what} of agent {event.agent!r}). Go on with it?")
        case "note":
            return Note(reason)
        case _:
            return Refuse(reason)


def _size(spec: SizeGuard) -> HookFunction:
    def look(event: Hooked) -> Outcome:
        size = sum(map(len, texts_in(event.value)))
        if not isinstance(event.value, str | msgspec.Struct):
            size = len(bytes(to_payload(event.value)).decode())
        if size <= spec.max_chars:
            return None
        reason = f"{size:,} characters are over the limit of {spec.max_chars:,} characters"
        return _verdict(spec.action, event, reason)

    return look


def _too_long(event: Hooked) -> Refuse | None:
    size = sum(map(len, texts_in(event.value)))
    if size <= MOST_CHARS:
        return None
    return Refuse(
        f"{size:,} characters are more than the {MOST_CHARS:,} a guard looks through; send less"
    )


def _regex(spec: RegexGuard) -> HookFunction:
    try:
        import regex
    except ImportError as error:
        raise ConfigError(
            "the guard 'regex' needs the package regex: pip install 'aixgo[guards]'"
        ) from error
    try:
        pattern = regex.compile(spec.pattern, regex.IGNORECASE if spec.ignore_case else 0)
    except regex.error as error:
        raise ConfigError(f"`pattern` is not a regular expression: {error}") from error
    reason = spec.reason or (
        "what is required was not found" if spec.action == "require" else "a guard found a pattern"
    )

    def mask(text: str) -> str:
        masked: str = pattern.sub(lambda match: spec.mask, text, timeout=PATTERN_SECONDS)
        return masked

    def look(event: Hooked) -> Outcome:
        if too_long := _too_long(event):
            return too_long
        try:
            if spec.action == "mask":
                changed = with_texts(event.value, mask)
                return None if changed == event.value else Change(changed)
            texts = texts_in(event.value)
            found = any(pattern.search(text, timeout=PATTERN_SECONDS) for text in texts)
        except TimeoutError:
            return Refuse(
                f"a guard could not look for its pattern in {PATTERN_SECONDS:g} s; the text is too "
                "hard to match"
            )
        wanted = spec.action == "require"
        return None if found is wanted else _verdict(spec.action, event, reason)

    return look


def _pii(spec: PiiGuard) -> HookFunction:
    pii = Pii(spec.kinds)

    def look(event: Hooked) -> Outcome:
        if too_long := _too_long(event):
            return too_long
        seen: list[str] = []

        def mask(text: str) -> str:
            masked, kinds = pii.masked(text)
            seen.extend(kinds)
            return masked

        changed = with_texts(event.value, mask)
        if not seen:
            return None
        if spec.action == "mask":
            return Change(changed)
        kinds = ", ".join(sorted(set(seen)))
        return _verdict(spec.action, event, f"it has personal data: {kinds}")

    return look


def _injection(spec: InjectionGuard) -> HookFunction:
    def look(event: Hooked) -> Outcome:
        signs = sorted({sign for text in texts_in(event.value) for sign in signs_in(text)})
        if not signs:
            return None
        return _verdict(spec.action, event, f"signs of prompt injection: {', '.join(signs)}")

    return look


def _json_schema(spec: JsonSchemaGuard) -> HookFunction:
    validator = validator_for("the guard 'json_schema'", spec.json_schema)
    read: Callable[[Any], Any] = _json_of

    def look(event: Hooked) -> Outcome:
        try:
            wrong = findings(validator, read(event.value))
        except InvalidPayload as error:
            wrong = [str(error)]
        if not wrong:
            return None
        return _verdict(spec.action, event, f"it does not satisfy its schema: {'; '.join(wrong)}")

    return look


def _json_of(value: Any) -> Any:
    """Return what a schema is about: JSON values; of a model's answer those in its text."""
    if isinstance(value, ChatResponse):
        value = value.text
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidPayload(f"{cut(value, _SHOWN)!r} is not JSON: {error}") from error
    return msgspec.json.decode(to_payload(value))
