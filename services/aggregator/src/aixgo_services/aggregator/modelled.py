"""Strategies with a model: it reads what the inputs agree on, and writes one answer of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from aixgo import Context
from aixgo.errors import InvalidPayload
from aixgo.models import ChatMessage
from aixgo.models.similarity import cosine
from aixgo.payloads import Shape
from aixgo.steps.answers import AnswerShape
from aixgo_services.aggregator.duplicates import by_meaning
from aixgo_services.aggregator.inputs import Input
from aixgo_services.aggregator.options import AggregatorOptions
from aixgo_services.aggregator.voting import Verdict

INSTRUCTION = "You make one answer of what several sources say, and invent nothing."

GROUP = 3
"""Inputs that `hierarchical` sums up together."""

SUMMARY_TOKENS = 200
"""Longest summary of a group."""

MOST_PASSAGES = 8
"""Inputs that `rag_based` puts before the model: those nearest to the question."""

_CITED = re.compile(r"\[(\d{1,3})\]")


class Position(msgspec.Struct, kw_only=True):
    """What some of the sources hold."""

    position: str
    sources: list[str]


class Conflict(msgspec.Struct, kw_only=True):
    """Something on which the sources contradict each other."""

    topic: str
    positions: Annotated[list[Position], msgspec.Meta(min_length=2)]


class Reading(msgspec.Struct, kw_only=True):
    """What the sources come to together.

    Attributes:
        common_ground: what most of them say.
        agreeing_sources: those that say it.
    """

    common_ground: str
    agreeing_sources: list[str]
    conflicts: list[Conflict] = []


class Ruling(msgspec.Struct, kw_only=True):
    """How a conflict is decided."""

    resolution: str
    reasoning: str


class Written(msgspec.Struct, kw_only=True):
    """The one answer."""

    content: Annotated[str, msgspec.Meta(min_length=1)]
    insights: str = ""


@dataclass(kw_only=True)
class Modelled:
    """Aggregates with the agent's model; every answer of it is a step, named by its key.

    Attributes:
        weights: by source; 1 for those that are not there.
    """

    ctx: Context
    options: AggregatorOptions
    weights: dict[str, float]
    instruction: str
    question: str
    temperature: float
    max_tokens: int

    async def _ask(
        self, task: str, output: type[Any] | AnswerShape, key: str, max_tokens: int = 0
    ) -> Any:
        asked = f"The question:\n{self.question}\n\n" if self.question else ""
        return await self.ctx.model.ask(
            [
                ChatMessage(role="system", content=self.instruction),
                ChatMessage(role="user", content=asked + task),
            ],
            output=output,
            key=key,
            temperature=self.temperature,
            max_tokens=max_tokens or self.max_tokens,
        )

    async def vectors(self, texts: Sequence[str], key: str) -> Sequence[Sequence[float]]:
        """Return one embedding for each text."""
        answer = await self.ctx.model.embed(texts, key=key, model=self.options.embedding_model)
        return answer.vectors

    # -- strategies ------------------------------------------------------------------------------

    async def consensus(self, inputs: Sequence[Input], *, weighted: bool) -> Verdict:
        """Return what the sources agree on, with their conflicts resolved.

        The consensus is the share of the weight whose sources hold the common ground; a source that
        the model names and that is none of the inputs does not count.
        """
        weights = {one.source: self._weight(one) if weighted else 1.0 for one in inputs}
        reading: Reading = await self._ask(
            f"{self._listed(inputs, weights if weighted else {})}\n\nSay what most of them say "
            "(`common_ground`) and which of the sources say it, and where they contradict each "
            "other: the topic, and who holds what. What only one of them mentions is no conflict.",
            _reading_shape(set(weights)),
            "reading",
        )
        agreeing = set(reading.agreeing_sources)
        total = sum(weights.values())
        agrees = sum(weight for source, weight in weights.items() if source in agreeing)
        conflicts = [
            await self._resolved(conflict, inputs, weights, number)
            for number, conflict in enumerate(reading.conflicts, 1)
        ]
        settled = "\n".join(f"- {one['topic']}: {one['resolution']}" for one in conflicts)
        decided = f"\n\nThis is decided:\n{settled}" if settled else ""
        written = await self._written(
            f"{self._listed(inputs, weights if weighted else {})}\n\nThey agree on this: "
            f"{reading.common_ground}{decided}\n\nWrite the one answer."
        )
        return Verdict(
            content=written.content,
            insights=written.insights,
            consensus=agrees / total if total else 0.0,
            conflicts=conflicts,
        )

    async def semantic(self, inputs: Sequence[Input]) -> Verdict:
        """Return one answer of groups of one meaning; the consensus is the largest one's share."""
        vectors = await self.vectors([one.content for one in inputs], "clusters")
        groups = by_meaning(vectors, self.options.semantic_similarity_threshold)
        weights = [sum(self._weight(inputs[i]) for i in group) for group in groups]
        total = sum(weights)
        listed = "\n\n".join(
            f"Group {number}, of {', '.join(inputs[i].source for i in group)}:\n"
            + "\n".join(inputs[i].content for i in group)
            for number, group in enumerate(groups, 1)
        )
        written = await self._written(
            f"The sources in groups that mean nearly the same:\n\n{listed}\n\nWrite one answer "
            "that keeps what each group says, the larger ones first."
        )
        return Verdict(
            content=written.content,
            insights=written.insights,
            consensus=max(weights) / total if total else 0.0,
            clusters=[[inputs[i].source for i in group] for group in groups],
        )

    async def hierarchical(self, inputs: Sequence[Input]) -> Verdict:
        """Return one answer of summaries of summaries, three at a time.

        The consensus is the share of the weight that the model finds in the final answer.
        """
        texts, level = [f"{one.source}: {one.content}" for one in inputs], 1
        while len(texts) > GROUP:
            groups = [texts[at : at + GROUP] for at in range(0, len(texts), GROUP)]
            answers: list[Written] = await self.ctx.gather(
                *(
                    self._ask(
                        "Sum up in a few sentences what these say, and who says what:\n\n"
                        + "\n\n".join(group),
                        Written,
                        f"level{level}.{number}",
                        SUMMARY_TOKENS,
                    )
                    for number, group in enumerate(groups, 1)
                ),
                key=f"level{level}",
            )
            texts, level = [one.content for one in answers], level + 1
        return await self._final(inputs, "\n\n".join(texts))

    async def _final(self, inputs: Sequence[Input], text: str) -> Verdict:
        written = await self._written(f"{text}\n\nWrite one answer of this.")
        reading: Reading = await self._ask(
            f"{self._listed(inputs, {})}\n\nThe answer that was made of them:\n{written.content}"
            "\n\nSay what it comes to (`common_ground`), and which of the sources agree with it.",
            _reading_shape({one.source for one in inputs}),
            "agreement",
        )
        weights = {one.source: self._weight(one) for one in inputs}
        total = sum(weights.values())
        agrees = sum(weights[source] for source in {*reading.agreeing_sources})
        return Verdict(
            content=written.content,
            insights=written.insights,
            consensus=agrees / total if total else 0.0,
        )

    async def rag_based(self, inputs: Sequence[Input]) -> Verdict:
        """Return an answer that cites the inputs nearest to the question, `[1]`, `[2]`, ….

        Citations of what was not put before the model are sent back to it. The consensus is the
        share of the weight that is cited.
        """
        question = self.question or "What do these say together?"
        asked, *vectors = await self.vectors(
            [question, *(one.content for one in inputs)], "passages"
        )
        nearest = sorted(range(len(inputs)), key=lambda i: (-cosine(asked, vectors[i]), i))
        passages = [inputs[i] for i in sorted(nearest[:MOST_PASSAGES])]
        listed = "\n\n".join(
            f"[{number}] {one.source}: {one.content}" for number, one in enumerate(passages, 1)
        )
        written: Written = await self._ask(
            f"{listed}\n\nAnswer with these passages alone: {question} Put the number of the "
            "passage behind each statement, such as [1]. Say so when they do not answer it."
            + self._wish(),
            _cited_shape(len(passages)),
            "answer",
        )
        cited = sorted({int(one) for one in _CITED.findall(written.content)})
        total = sum(self._weight(one) for one in passages)
        weight = sum(self._weight(passages[number - 1]) for number in cited)
        return Verdict(
            content=written.content,
            insights=written.insights,
            consensus=weight / total if total else 0.0,
            citations=[{"number": n, "source": passages[n - 1].source} for n in cited],
        )

    # -- parts -----------------------------------------------------------------------------------

    async def _resolved(
        self,
        conflict: Conflict,
        inputs: Sequence[Input],
        weights: Mapping[str, float],
        number: int,
    ) -> dict[str, Any]:
        """Return a conflict with its resolution, by the rule that is declared."""
        sides = conflict.positions
        match self.options.conflict_resolution:
            case "vote":
                sums = [sum(weights[source] for source in {*side.sources}) for side in sides]
                best = max(range(len(sides)), key=lambda at: (sums[at], -at))
                resolution = sides[best].position
                reasoning = f"{sums[best]:g} of {sum(weights.values()):g} votes"
            case "confidence":
                sure = {one.source: one.confidence or 0.0 for one in inputs}
                highest = [max((sure[one] for one in side.sources), default=0.0) for side in sides]
                best = max(range(len(sides)), key=lambda at: (highest[at], -at))
                resolution = sides[best].position
                reasoning = f"the highest confidence, {highest[best]:g}"
            case "merge":
                resolution = "; ".join(
                    f"{', '.join(side.sources)}: {side.position}" for side in sides
                )
                reasoning = "all that was said is kept"
            case "llm_arbitration":
                held = "\n".join(f"- {', '.join(one.sources)}: {one.position}" for one in sides)
                ruling: Ruling = await self._ask(
                    f"{self._listed(inputs, {})}\n\nThey contradict each other on "
                    f"{conflict.topic!r}:\n{held}\n\nDecide what counts, and say why.",
                    Ruling,
                    f"ruling{number}",
                )
                resolution, reasoning = ruling.resolution, ruling.reasoning
        return {
            "topic": conflict.topic,
            "conflicting_sources": [side.sources for side in sides],
            "resolution": resolution,
            "reasoning": reasoning,
        }

    async def _written(self, task: str) -> Written:
        written: Written = await self._ask(task + self._wish(), Written, "answer")
        return written

    def _wish(self) -> str:
        if not self.options.summarization_enabled:
            return " Leave `insights` empty."
        return " Say in `insights` what they show together that none of them says alone."

    def _weight(self, one: Input) -> float:
        return self.weights.get(one.source, 1.0)

    @staticmethod
    def _listed(inputs: Sequence[Input], weights: Mapping[str, float]) -> str:
        def facts(one: Input) -> str:
            found = [f"weight {weights[one.source]:g}"] if weights else []
            if one.confidence is not None:
                found.append(f"confidence {one.confidence:g}")
            return f" ({', '.join(found)})" if found else ""

        return "\n\n".join(f"Source {one.source!r}{facts(one)}:\n{one.content}" for one in inputs)


def _reading_shape(sources: set[str]) -> AnswerShape:
    """Return the shape of a reading, which names none but the sources that there are."""
    shape = Shape.of(Reading)

    def read(body: bytes) -> Reading:
        reading: Reading = shape.decode(body)
        named = {*reading.agreeing_sources}
        for conflict in reading.conflicts:
            named |= {source for side in conflict.positions for source in side.sources}
        if unknown := sorted(named - sources):
            raise InvalidPayload(
                f"there is no source {unknown[0][:100]!r}; the sources are "
                f"{', '.join(repr(one) for one in sorted(sources))}"
            )
        return reading

    return AnswerShape("reading", shape.schema, read)


def _cited_shape(passages: int) -> AnswerShape:
    """Return the shape of an answer that cites none but the passages that there are."""
    shape = Shape.of(Written)

    def read(body: bytes) -> Written:
        written: Written = shape.decode(body)
        numbers = {int(one) for one in _CITED.findall(written.content)}
        if wrong := sorted(number for number in numbers if not 1 <= number <= passages):
            raise InvalidPayload(
                f"there is no passage [{wrong[0]}]; the passages are [1] to [{passages}]"
            )
        return written

    return AnswerShape("answer", shape.schema, read)
