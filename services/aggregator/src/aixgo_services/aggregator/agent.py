"""`Aggregator`: many inputs in, one answer out, with what they agree and differ on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from aixgo import Context, Message, Reply, Role
from aixgo.agents.prompt_text import checked_text
from aixgo.agents.role import Feed, Style
from aixgo.config.agents import AgentSpec
from aixgo.errors import ConfigError
from aixgo_services.aggregator.duplicates import by_meaning, exactly, nearly
from aixgo_services.aggregator.inputs import Input, Inputs, inputs_of
from aixgo_services.aggregator.modelled import INSTRUCTION, Modelled
from aixgo_services.aggregator.options import VOTING, AggregatorOptions
from aixgo_services.aggregator.voting import Verdict, voted
from aixgo_services.aggregator.windows import Gathering

TEMPERATURE = 0.5
MAX_TOKENS = 1_500
"""Defaults of an aggregator that declares none: room for an answer that keeps what was said."""


class Aggregator(Role):
    """Answers a call with one answer of its inputs; the events of its `inputs` go into windows."""

    style: ClassVar[Style] = "hybrid"
    options_model = AggregatorOptions
    calls_models = True

    def __init__(self, spec: AgentSpec, options: AggregatorOptions) -> None:
        super().__init__(spec, options)
        self._settings = options
        most = spec.timeout or spec.limits.timeout
        if options.timeout_ms / 1000 >= most:
            raise ConfigError(
                f"agent {spec.name!r}: `timeout_ms` of {options.timeout_ms:,} ms leaves no time "
                f"for an answer: a run of the agent ends after {most:g} s; raise `timeout` (or "
                "`limits.timeout`)"
            )
        self._gathering = Gathering(options, options.timeout_ms / 1000)
        self._temperature = TEMPERATURE if spec.temperature is None else spec.temperature
        self._max_tokens = MAX_TOKENS if spec.max_tokens is None else spec.max_tokens

    async def start(self, feed: Feed) -> None:
        """Take the way to the windows; nothing is done besides."""
        self._gathering.start(feed)
        await feed.stopping.wait()

    async def execute(self, message: Message, ctx: Context) -> Reply:
        """Return what the inputs come to together; see the README for its members.

        An event that does not close its window answers nothing and publishes nothing.

        Raises:
            InvalidPayload: there are no inputs, too many, or they have another form.
            BadModelAnswer: none of the model's answers fits; final.
            ModelError: the model did not answer.
        """
        if message.kind == "event":
            gathered = await self._gathering.gather(message, ctx)
            if gathered is None:
                return Reply(None, publish=False)
            return await self._aggregated(Inputs(inputs=gathered), ctx)
        return await self._aggregated(
            inputs_of(message.data, self._settings.max_input_sources), ctx
        )

    async def _aggregated(self, given: Inputs, ctx: Context) -> Reply:
        options = self._settings
        modelled = Modelled(
            ctx=ctx,
            options=options,
            weights=dict(options.source_weights),
            instruction=self.spec.prompt or INSTRUCTION,
            question=given.question,
            temperature=self._temperature,
            max_tokens=self._max_tokens,
        )
        groups = await self._groups(given.inputs, modelled)
        verdict = await self._verdict(given.inputs, groups, modelled)
        consensus = round(verdict.consensus, 4)
        data: dict[str, Any] = {
            "aggregated_content": verdict.content,
            "sources": list(dict.fromkeys(one.source for one in given.inputs)),
            "strategy_used": options.aggregation_strategy,
            "conflicts_resolved": verdict.conflicts,
            "consensus_level": consensus,
            "summary_insights": verdict.insights if options.summarization_enabled else "",
            "tokens_used": ctx.usage.total_tokens,
            "processing_time_ms": round(ctx.worked * 1000),
        }
        if verdict.clusters:
            data["semantic_clusters"] = verdict.clusters
        if verdict.citations:
            data["citations"] = verdict.citations
        meta = {
            "type": "aggregation",
            "strategy": options.aggregation_strategy,
            "confidence": consensus,
            "below_threshold": consensus < options.consensus_threshold,
            "input_count": len(given.inputs),
        }
        return Reply(data, meta=meta)

    async def _groups(self, inputs: Sequence[Input], modelled: Modelled) -> list[list[int]]:
        """Return the places of inputs that say the same, by `deduplication_method`."""
        texts = [one.content for one in inputs]
        match self._settings.deduplication_method:
            case "semantic" if len(inputs) > 1:
                vectors = await modelled.vectors(texts, "duplicates")
                return by_meaning(vectors, self._settings.semantic_similarity_threshold)
            case "fuzzy":
                return nearly(texts)
            case "exact":
                return exactly(texts)
        if self._settings.aggregation_strategy in VOTING:
            return exactly(texts)  # a vote counts what is equal
        return [[place] for place in range(len(inputs))]

    async def _verdict(
        self, inputs: Sequence[Input], groups: Sequence[Sequence[int]], modelled: Modelled
    ) -> Verdict:
        options = self._settings
        strategy = options.aggregation_strategy
        if strategy in VOTING:
            return voted(
                inputs, groups, strategy, options.source_weights, options.conflict_resolution
            )
        distinct = [_merged(inputs, group) for group in groups]
        for one, group in zip(distinct, groups, strict=True):
            checked_text(one.content, one.source)
            if len(group) > 1:  # what several say weighs as much as all of them
                names = {inputs[i].source for i in group}
                weights = (options.source_weights.get(name, 1.0) for name in names)
                modelled.weights[one.source] = sum(weights)
        if len(distinct) == 1:
            return Verdict(content=distinct[0].content, consensus=1.0)
        match strategy:
            case "semantic":
                return await modelled.semantic(distinct)
            case "hierarchical":
                return await modelled.hierarchical(distinct)
            case "rag_based":
                return await modelled.rag_based(distinct)
        return await modelled.consensus(distinct, weighted=strategy == "weighted")


def _merged(inputs: Sequence[Input], group: Sequence[int]) -> Input:
    """Return inputs that say the same as one, with all of their sources."""
    first = inputs[group[0]]
    if len(group) == 1:
        return first
    sources = dict.fromkeys(inputs[i].source for i in group)
    sure = [one for i in group if (one := inputs[i].confidence) is not None]
    return Input(
        source=", ".join(sources)[:200], content=first.content, confidence=max(sure, default=None)
    )
