"""Errors of what people wrote: documents, options, environment variables."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from .base import AixgoError


class ConfigError(AixgoError):
    """What people wrote is wrong: a document, an option, an environment variable."""

    code = "config"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong in a document.

    Attributes:
        path: of the key inside the document, such as `agents.1.retry.max_attempts`.
        line, column: from 1.
        message: what is wrong, the value, and the fix.
    """

    path: str
    line: int
    column: int
    message: str


class InvalidDocument(ConfigError):
    """A configuration document is wrong: one line for each finding, `file:line:column: …`.

    Attributes:
        source: name of the file.
        findings: in the order of the document.
    """

    code = "invalid_document"
    SHOWN = 20
    """Findings in the message: the first ones are the causes, and a screen has room for these."""

    def __init__(self, source: str, findings: Sequence[Finding]) -> None:
        self.source, self.findings = source, tuple(findings)
        lines = [
            f"{source}:{found.line}:{found.column}: "
            + (f"{found.path}: " if found.path else "")
            + found.message
            for found in self.findings[: self.SHOWN]
        ]
        if len(self.findings) > self.SHOWN:
            lines.append(f"{source}: and {len(self.findings) - self.SHOWN} more")
        super().__init__("\n".join(lines))


class UnknownRole(ConfigError):
    """No installed package offers the role."""

    code = "unknown_role"

    def __init__(self, role: str, known: list[str]) -> None:
        self.role, self.known = role, known
        near = difflib.get_close_matches(role[:100], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        super().__init__(
            f"no installed package offers the role {role[:60]!r}; {hint}installed: "
            f"{', '.join(known) or 'none'}"
            + ("" if near else "; a class of your own is `module:Class`")
        )


class UnknownProvider(ConfigError):
    """The text before the first '/' of a model name is not a known provider."""

    code = "unknown_provider"

    def __init__(self, provider: str, known: list[str]) -> None:
        self.provider, self.known = provider, known
        super().__init__(
            f"unknown model provider {provider!r}; known providers: {', '.join(known)}. Model "
            "names are "
            f"'provider/model', for example 'local/smollm2' or 'openai/gpt-4o'"
        )


class MissingKey(ConfigError):
    """A provider's key or setting is missing; names the variables that can hold it."""

    code = "missing_key"

    def __init__(self, provider: str, variables: list[str], what: str = "an API key") -> None:
        self.provider, self.variables = provider, variables
        super().__init__(
            f"provider {provider!r} needs {what}: set {' or '.join(variables)} in the model "
            "gateway's environment"
        )


class MissingExtra(ConfigError):
    """An optional dependency is not installed; names the extra."""

    code = "missing_extra"

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional dependency: pip install 'aixgo[{extra}]'")
