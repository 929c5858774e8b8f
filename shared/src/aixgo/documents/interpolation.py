"""Environment variables in values: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`; `$$` is `$`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PART = re.compile(
    r"\$(?:(?P<dollar>\$)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:[-?])(?P<word>[^}]*))?\}"
    r"|(?P<broken>\{))"
)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with its variables replaced, as a shell would.

    With `:-` and `:?` an empty variable counts as unset. A `$` before anything but `{` and `$`
    stays as it is. What a variable holds is not expanded again.

    Raises:
        ValueError: a variable is not set, or a `${` is not one of the forms; says the fix.
    """

    def replacement(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["broken"]:
            raise ValueError(
                f"cannot read {text[match.start() : match.start() + 30]!r}: write ${{VAR}}, "
                "${VAR:-default} or ${VAR:?message}, and $${ for the characters themselves"
            )
        return _value(match["name"], match["operator"], match["word"] or "", environment)

    return _PART.sub(replacement, text)


def _value(name: str, operator: str | None, word: str, environment: Mapping[str, str]) -> str:
    if "${" in word:
        raise ValueError(
            f"the text after ${{{name}{operator} holds a variable itself; variables do not nest, "
            "so set the default of one of them elsewhere"
        )
    value = environment.get(name)
    if value or (value is not None and operator is None):
        return value
    word = word.replace("$$", "$")
    if operator == ":-":
        return word
    if operator == ":?" and word:
        raise ValueError(f"environment variable {name} is not set: {word}")
    raise ValueError(
        f"environment variable {name} is not set; set it, or write ${{{name}:-default}}"
    )
