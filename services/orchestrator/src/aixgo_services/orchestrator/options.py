"""An orchestrator's keys: `pattern`, and the keys of that pattern in one flat declaration."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, create_model, model_validator

from aixgo.config.agents import Options
from aixgo_services.orchestrator.patterns import PATTERNS
from aixgo_services.orchestrator.patterns._shared import PatternConfig


class _Keys(Options):
    """Checks that the keys given are those of the pattern."""

    if TYPE_CHECKING:
        pattern: str

    @model_validator(mode="after")
    def _fit_the_pattern(self) -> _Keys:
        given = self.model_fields_set - {"pattern"}
        own = set(PATTERNS[self.pattern].config.model_fields)
        foreign = sorted(given - own)
        if foreign:
            raise ValueError(
                f"the pattern {self.pattern!r} has no key {foreign[0]!r}; its keys are "
                f"{', '.join(sorted(own))}"
            )
        try:
            self.config()
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            where = ".".join(map(str, found["loc"]))
            raise ValueError(f"pattern {self.pattern!r}: {where}: {found['msg']}") from None
        return self

    def config(self) -> PatternConfig:
        """Return the keys as the pattern's own model."""
        given = {key: getattr(self, key) for key in self.model_fields_set - {"pattern"}}
        return PATTERNS[self.pattern].config.model_validate(given)


def _flat() -> type[_Keys]:
    """Return one model with the keys of all patterns, each optional.

    A flat declaration names its pattern beside the pattern's own keys, and loaders want one model
    for each role; which keys belong together is checked by `_Keys`.
    """
    kinds: dict[str, list[Any]] = {}
    texts: dict[str, str] = {}
    for name, pattern in PATTERNS.items():
        for key, field in pattern.config.model_fields.items():
            kinds.setdefault(key, []).append(field.annotation)
            texts[key] = f"{texts.get(key, '')} {name}: {field.description}".strip()
    fields: dict[str, Any] = {
        key: (reduce(or_, [*found, None]), Field(default=None, description=texts[key]))
        for key, found in kinds.items()
    }
    names: Any = Literal[tuple(PATTERNS)]
    description = "Which pattern it runs: " + ", ".join(PATTERNS) + "."
    return create_model(
        "OrchestratorOptions",
        __base__=_Keys,
        __doc__="What an orchestrator takes: a pattern and its keys.",
        pattern=(names, Field(description=description)),
        **fields,
    )


OrchestratorOptions = _flat()
