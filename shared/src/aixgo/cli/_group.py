"""The verbs, each loaded from its file only when it is called or when help lists it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

VERBS = (
    "run",
    "up",
    "service",
    "call",
    "runs",
    "sessions",
    "dlq",
    "models",
    "validate",
    "provision",
    "doctor",
    "subjects",
    "version",
)
"""In the order of the help; each is the function `command` of the module of its name, or the group
`verbs` of it."""


class Verbs(TyperGroup):
    """A group whose commands are modules of this package."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb's command, or None when there is no such verb."""
        if cmd_name not in VERBS:
            return None
        module = import_module(f"aixgo.cli.{cmd_name}")
        if hasattr(module, "verbs"):
            return typer.main.get_command(module.verbs)
        verb = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        verb.command(cmd_name)(module.command)
        return typer.main.get_command(verb)


def build() -> Any:
    """Return the whole command line."""
    app = typer.Typer(
        cls=Verbs,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        help="AI agents as services on a NATS JetStream broker, or in one process.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return typer.main.get_command(app)


def _root() -> None:
    """AI agents as services on a NATS JetStream broker, or in one process."""
