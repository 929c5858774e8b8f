"""What an aggregator is told: how it makes one of many, and how long it waits for them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from aixgo.config.agents import Options

Strategy = Literal[
    "consensus", "weighted", "semantic", "hierarchical", "rag_based",
    "voting_majority", "voting_unanimous", "voting_weighted", "voting_confidence",
]  # fmt: skip

Resolution = Literal["vote", "confidence", "llm_arbitration", "merge"]

VOTING: frozenset[Strategy] = frozenset(
    {"voting_majority", "voting_unanimous", "voting_weighted", "voting_confidence"}
)
"""Strategies that ask no model."""

EMBEDDING: frozenset[Strategy] = frozenset({"semantic", "rag_based"})
"""Strategies that compare by embeddings."""

MOST_SOURCES = 200


class AggregatorOptions(Options):
    """What an aggregator takes besides `model`, `prompt` and what every agent has."""

    aggregation_strategy: Strategy = "consensus"
    """How one answer is made of the inputs; those that count votes ask no model."""
    conflict_resolution: Resolution = "llm_arbitration"
    """What counts where inputs contradict each other: the most votes, the highest confidence, the
    model's judgement, or all of it (`merge`)."""
    deduplication_method: Literal["none", "exact", "fuzzy", "semantic"] = "exact"
    """Which inputs are one and the same: equal but for spaces and capitals, nearly equal, or of one
    meaning by their embeddings. Their votes are kept."""
    summarization_enabled: bool = True
    """Have the model say in `summary_insights` what the inputs show together."""
    max_input_sources: int = Field(default=20, ge=1, le=MOST_SOURCES)
    """Inputs of one answer: a call with more is refused, and a window with so many is closed."""
    timeout_ms: int = Field(default=5_000, ge=10, le=86_400_000)
    """Length of a window over the events of `inputs`, from its first event on."""
    semantic_similarity_threshold: float = Field(default=0.85, ge=-1, le=1)
    """Cosine of two embeddings from which on texts mean the same."""
    source_weights: dict[str, float] = Field(default={}, max_length=MOST_SOURCES)
    """Weight of what a source says, by its name; 1 for those that are not named."""
    consensus_threshold: float = Field(default=0.7, ge=0, le=1)
    """Share of the weight that has to agree; an answer with less is marked `below_threshold`."""
    embedding_model: str = ""
    """`provider/model` of the embeddings; without it the agent's own `model`."""

    @model_validator(mode="after")
    def _keys_fit_together(self) -> AggregatorOptions:
        for source, weight in self.source_weights.items():
            if weight < 0:
                raise ValueError(
                    f"source_weights.{source} is {weight:g}; a weight is 0 (not heard) or more"
                )
        embeds = self.aggregation_strategy in EMBEDDING or self.deduplication_method == "semantic"
        if self.embedding_model and not embeds:
            raise ValueError(
                "embedding_model is only used by `aggregation_strategy: semantic` or `rag_based` "
                "and by `deduplication_method: semantic`; leave it out"
            )
        return self
