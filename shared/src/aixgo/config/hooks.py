"""What people declare of hooks: functions of their own, and the guards that are shipped.

`aixgo.hooks` has the guards' behaviour, and what functions are given and return.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    WithJsonSchema,
)

from aixgo.config.options import Options
from aixgo.config.reference import imported
from aixgo.errors import ConfigError

Point = Literal[
    "before_agent", "after_agent", "before_model", "after_model",
    "before_tool", "after_tool", "before_call", "after_call",
]  # fmt: skip
"""Where a hook looks: at the agent's own message and answer, or at a step of it."""

Action = Literal["refuse", "ask"]
"""What a guard does that finds something: refuse it, or ask a person."""

PiiKind = Literal["email", "card", "iban", "phone"]

LONGEST_PATTERN = 10_000
"""Characters of a regular expression."""


class SizeGuard(Options):
    """Refuses what is too long."""

    guard: Literal["size"]
    """Refuses what is too long."""
    max_chars: int = Field(default=100_000, ge=1)
    """Most characters of all texts together; of what is not text, of its JSON."""
    action: Action = "refuse"
    """`refuse`, or `ask` a person."""


class RegexGuard(Options):
    """Looks for a regular expression in the texts."""

    guard: Literal["regex"]
    """Looks for a regular expression in the texts."""
    pattern: str = Field(min_length=1, max_length=LONGEST_PATTERN)
    """What is looked for, anywhere in a text."""
    ignore_case: bool = False
    """Whether capitals do not matter."""
    action: Literal["refuse", "ask", "mask", "require"] = "refuse"
    """When it is found: `refuse`, `ask` a person, or `mask` it; or refuse when it is not found
    (`require`)."""
    mask: str = Field(default="[removed]", max_length=200)
    """What stands in the place of what is masked."""
    reason: str = ""
    """Why it is refused, for the caller and the model."""


class PiiGuard(Options):
    """Masks personal data: addresses of mail, card numbers, IBANs and phone numbers."""

    guard: Literal["pii"]
    """Masks personal data: addresses of mail, card numbers, IBANs and phone numbers."""
    kinds: tuple[PiiKind, ...] = Field(default=("email", "card", "iban", "phone"), min_length=1)
    """Which of them."""
    action: Literal["mask", "refuse", "ask"] = "mask"
    """`mask` them, such as `[email]`, `refuse`, or `ask` a person."""


class InjectionGuard(Options):
    """Notes signs of prompt injection; a hint and no proof."""

    guard: Literal["injection"]
    """Notes signs of prompt injection; a hint and no proof."""
    action: Literal["note", "refuse", "ask"] = "note"
    """`note` them in the run's record and in the answer's metadata, `refuse`, or `ask` a person."""


class JsonSchemaGuard(Options):
    """Refuses what does not satisfy a JSON schema."""

    guard: Literal["json_schema"]
    """Refuses what does not satisfy a JSON schema."""
    json_schema: dict[str, Any] = Field(alias="schema")
    """The schema; of a model's answer, its text is read as JSON."""
    action: Action = "refuse"
    """`refuse`, or `ask` a person."""


Guard = SizeGuard | RegexGuard | PiiGuard | InjectionGuard | JsonSchemaGuard

_GUARDS = ("size", "regex", "pii", "injection", "json_schema")


def _function(given: Any, info: ValidationInfo) -> Callable[..., Any]:
    """Return the function that is given or named.

    Raises:
        ValueError: it cannot be imported, or takes no single argument.
    """
    if isinstance(given, str):
        try:
            given = imported(given, (info.context or {}).get("directory"))
        except ConfigError as error:
            raise ValueError(str(error)) from error
    if isinstance(given, type) or not callable(given):
        raise ValueError(
            f"{given!r:.80} is not a function; write `def hook(event: Hooked) -> …`, and name it "
            "as `module:function`"
        )
    try:
        inspect.signature(given).bind(object())
    except TypeError as error:
        name = getattr(given, "__qualname__", repr(given))
        raise ValueError(f"the hook {name!r} does not take one argument: {error}") from error
    except ValueError:  # a function that says nothing of its parameters
        pass
    return given  # type: ignore[no-any-return] # callable, as was checked


def _kind(given: Any) -> str:
    """Return which form of a hook something is; what is none of them is said of the text."""
    if isinstance(given, Mapping):
        return str(given.get("guard", ""))
    return getattr(given, "guard", "function") if isinstance(given, Guard) else "function"


Hook = Annotated[
    Annotated[SizeGuard, Tag("size")]
    | Annotated[RegexGuard, Tag("regex")]
    | Annotated[PiiGuard, Tag("pii")]
    | Annotated[InjectionGuard, Tag("injection")]
    | Annotated[JsonSchemaGuard, Tag("json_schema")]
    | Annotated[
        Any,
        BeforeValidator(_function),
        WithJsonSchema({"type": "string", "description": "A function, as `module:function`."}),
        Tag("function"),
    ],
    Discriminator(
        _kind,
        custom_error_type="hook",
        custom_error_message="is neither a function (`module:function`) nor a guard with "
        f"`guard:` one of {', '.join(_GUARDS)}",
    ),
]
"""A function, as `module:function` or in Python as itself, or a guard."""


class HookSpecs(Options):
    """Hooks of an agent: what looks at its steps, in order."""

    before_agent: tuple[Hook, ...] = ()
    """Before the agent handles a message."""
    after_agent: tuple[Hook, ...] = ()
    """After it has answered, before the answer goes anywhere."""
    before_model: tuple[Hook, ...] = ()
    """Before a model is asked."""
    after_model: tuple[Hook, ...] = ()
    """After a model has answered."""
    before_tool: tuple[Hook, ...] = ()
    """Before a tool is used; what is looked at are its arguments."""
    after_tool: tuple[Hook, ...] = ()
    """After a tool was used; what is looked at is its value."""
    before_call: tuple[Hook, ...] = ()
    """Before another agent is called."""
    after_call: tuple[Hook, ...] = ()
    """After another agent has answered."""
