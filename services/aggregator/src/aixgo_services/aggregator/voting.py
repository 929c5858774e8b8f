"""Votes: the content that most of the inputs have, by count, weight or confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aixgo_services.aggregator.inputs import Input
from aixgo_services.aggregator.options import Resolution, Strategy


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the inputs come to together.

    Attributes:
        consensus: share of the weight that agrees, 0 to 1; measured, never a constant.
        conflicts: as the answer lists them.
        clusters: sources that mean the same, where that was looked at.
    """

    content: str
    consensus: float
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    insights: str = ""
    clusters: list[list[str]] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)


def weight_of(one: Input, strategy: Strategy, weights: Mapping[str, float]) -> float:
    """Return what a vote counts. One whose source says nothing of its confidence counts half."""
    if strategy == "voting_weighted":
        return weights.get(one.source, 1.0)
    if strategy == "voting_confidence":
        return 0.5 if one.confidence is None else one.confidence
    return 1.0


def voted(
    inputs: Sequence[Input],
    groups: Sequence[Sequence[int]],
    strategy: Strategy,
    weights: Mapping[str, float],
    resolution: Resolution,
) -> Verdict:
    """Return the content with the most votes.

    Of equal ones the group wins whose most confident input is surer, then the one that came first.
    `voting_unanimous` has a winner when all agree; else `conflict_resolution` says what counts.

    Args:
        groups: places of inputs that say the same.
    """
    sums = [sum(weight_of(inputs[i], strategy, weights) for i in group) for group in groups]
    total = sum(sums)
    order = sorted(range(len(groups)), key=lambda at: (-sums[at], -_surest(inputs, groups[at]), at))
    best = order[0]
    share = sums[best] / total if total else 0.0
    if len(groups) == 1:
        return Verdict(content=inputs[groups[0][0]].content, consensus=share)
    content, why = inputs[groups[best][0]].content, f"{sums[best]:g} of {total:g} votes"
    if strategy == "voting_unanimous" and resolution == "confidence":
        surest = max(range(len(groups)), key=lambda at: (_surest(inputs, groups[at]), -at))
        content, why = inputs[groups[surest][0]].content, "the highest confidence"
    elif strategy == "voting_unanimous" and resolution == "merge":
        content = "\n".join(
            f"{', '.join(inputs[i].source for i in group)}: {inputs[group[0]].content}"
            for group in groups
        )
        why = "all that was said"
    conflict = {
        "topic": "the answer",
        "conflicting_sources": [[inputs[i].source for i in group] for group in groups],
        "resolution": content,
        "reasoning": why,
    }
    return Verdict(content=content, consensus=share, conflicts=[conflict])


def _surest(inputs: Sequence[Input], group: Sequence[int]) -> float:
    return max(-1.0 if inputs[i].confidence is None else inputs[i].confidence or 0.0 for i in group)
