"""Self-critique: the model judges its plan, and mends it once when something is wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec

from aixgo_services.planner.plan import Draft
from aixgo_services.planner.planning import Planning, Score

GOOD_ENOUGH = 8.0
"""Of 10: a plan that is judged so is left as it is."""


class Critique(msgspec.Struct, kw_only=True):
    """What the model thinks of a plan."""

    score: Score
    problems: list[str] = []


async def criticised(planning: Planning, draft: Draft) -> tuple[Draft, dict[str, Any]]:
    """Return the plan, mended if that was wanted, and what was thought of the first one."""
    written = msgspec.json.encode(draft).decode()
    said: Critique = await planning.ask(
        f"A plan:\n{written}\n\nJudge it: what is missing, wrong, in the wrong order or does not "
        "solve the problem? Score it from 0 to 10.",
        Critique,
        "critique",
    )
    mend = bool(said.problems) and said.score < GOOD_ENOUGH
    if mend:
        problems = "\n".join(f"- {one}" for one in said.problems)
        draft = await planning.ask(
            f"A plan:\n{written}\n\nWhat is wrong with it:\n{problems}\n\nWrite the whole plan "
            "anew, without these problems.",
            planning.draft,
            "mended",
        )
    return draft, {"score": said.score, "problems": said.problems, "mended": mend}
