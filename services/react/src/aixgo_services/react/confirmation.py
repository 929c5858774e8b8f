"""Whether a person has to allow the use of a tool, and what the person said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aixgo import ConfigError, Context
from aixgo.config.suggest import did_you_mean
from aixgo.payloads import to_payload
from aixgo.tools import Toolbox
from aixgo_services.react.offer import Offered
from aixgo_services.react.options import ByEffect, Confirm

YES, NO, CHANGE = "yes", "no", "change"
_SHOWN_CHARS = 4_000


@dataclass(frozen=True)
class Declined:
    """The person does not want it; `reason` may be empty."""

    reason: str = ""


class Confirmation:
    """Which tools of an agent need a person.

    Args:
        wanted: as the agent declares it.

    Raises:
        ConfigError: it names a tool that the agent does not have; tools of servers are not known
            yet and are checked by `check`.
    """

    def __init__(self, agent: str, wanted: Confirm, tools: Toolbox) -> None:
        self._agent, self._all = agent, wanted in ("all", True)
        chosen = wanted if isinstance(wanted, tuple) else ()
        self._effects = {one.effect for one in chosen if isinstance(one, ByEffect)}
        self._names = {one for one in chosen if isinstance(one, str)}
        if not tools.dynamic:
            self.check(tools.always)
        elif unknown := {name for name in self._names if ":" not in name} - tools.always.keys():
            raise self._unknown(min(unknown), tools.always)

    def check(self, tools: Mapping[str, object]) -> None:
        """Refuse a name that no tool has: a person would never be asked.

        Raises:
            ConfigError: names it, and the nearest one.
        """
        if unknown := self._names - tools.keys():
            raise self._unknown(min(unknown), tools)

    def _unknown(self, name: str, tools: Mapping[str, object]) -> ConfigError:
        return ConfigError(
            f"agent {self._agent!r}: `require_confirmation` names {name!r}, which is not one of "
            f"its tools{did_you_mean(name, tools)}"
        )

    def needed(self, tool: Offered) -> bool:
        """Whether a person must allow each use of the tool."""
        return self._all or tool.name in self._names or tool.effect in self._effects

    async def ask(
        self, ctx: Context, tool: Offered, arguments: dict[str, Any], key: str
    ) -> dict[str, Any] | Declined:
        """Return the arguments that the person allows; parks the run until it is answered.

        A step: in a repeated execution the same answer is returned.
        """
        shown = bytes(to_payload(arguments)).decode()
        if len(shown) > _SHOWN_CHARS:
            shown = f"{shown[:_SHOWN_CHARS]}… ({len(shown):,} characters)"
        answer = await ctx.ask_human(
            f"May agent {self._agent!r} use the tool {tool.name!r} with {shown}? "
            f'Other arguments are given as {{"{CHANGE}": {{…}}}}.',
            options=(YES, NO, CHANGE),
            schemas={CHANGE: tool.definition.parameters},
            key=key,
        )
        choice, said = _split(answer)
        if choice == YES:
            return arguments
        if choice == CHANGE and isinstance(said, dict):
            return said
        return Declined(said if isinstance(said, str) else "")


def _split(answer: Any) -> tuple[Any, Any]:
    """Return the option that was chosen, and what was said with it."""
    if isinstance(answer, dict) and len(answer) == 1:
        return next(iter(answer.items()))
    return answer, None
