"""Run ids as people give them: whole, or the beginning that only one run has."""

from __future__ import annotations

from collections.abc import Mapping

from aixgo.cli._people import columns, utc
from aixgo.client import Client
from aixgo.errors import ConfigError, NoRun
from aixgo.runs.records import SCANNED

WHOLE = 32
"""Characters of an id that the library made."""

SHOWN = 10
"""Runs that are listed when several could be meant."""


async def run_of(client: Client, given: str) -> str:
    """Return the id of the run that is meant: the run of that id, or the only one that begins so.

    Runs that an event began are known by their whole id only. What is known of no run is returned
    as it is, for the error of who asks for it.

    Raises:
        ConfigError: several runs begin so; lists them.
    """
    if len(given) >= WHOLE:
        return given
    known = {
        run.run_id: (run.run_id, run.agent, run.status, utc(run.started))
        for run in await client.runs.list(SCANNED)
    }
    if given not in known and any(one.startswith(given) for one in known):
        try:
            await client.runs.tree(given)
        except NoRun:
            return only(given, known)
    return given


def only(given: str, known: Mapping[str, tuple[str, ...]]) -> str:
    """Return the only known id that begins so, or what was given when none does.

    Args:
        known: id → what tells it from others, in the order of the list.

    Raises:
        ConfigError: several begin so; lists them.
    """
    found = [one for one in known if one.startswith(given)]
    if given in known or not found:
        return given
    if len(found) == 1:
        return found[0]
    lines = columns([known[one] for one in found[:SHOWN]])
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    listed = "".join(f"\n  {line}" for line in (*lines, *more))
    raise ConfigError(
        f"{given!r} is the beginning of {len(found)} run ids; give more of the id you mean:{listed}"
    )
