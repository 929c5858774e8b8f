"""An aggregator makes one answer of many inputs, and measures how far they agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aixgo import Agent, ConfigError
from aixgo.envelope import Usage
from aixgo.errors import InvalidPayload, RemoteError
from aixgo.models import ChatRequest
from aixgo.models.port import EmbedRequest, EmbedResponse
from aixgo.models.scripted import ScriptedModel
from aixgo.testing.local import Running
from aixgo_services.aggregator.duplicates import by_meaning, exactly, nearly
from aixgo_services.aggregator.inputs import Input, inputs_of
from aixgo_services.aggregator.voting import voted

pytestmark = pytest.mark.virtual_time


def editor(**options: Any) -> Agent:
    return Agent("editor", role="aggregator", model="test/scripted", **options)


async def aggregate(
    running: Running, data: Any, model: ScriptedModel | None = None, **options: Any
) -> Any:
    async with running(editor(**options), model=model or ScriptedModel()) as system:
        return await system.call("editor", data)


def said(*answers: Any) -> ScriptedModel:
    return ScriptedModel([json.dumps(one) for one in answers])


def asked(request: ChatRequest) -> str:
    return request.messages[-1].text


class Vectors(ScriptedModel):
    """A scripted model whose embeddings are those of a table, by the first word of a text."""

    def __init__(self, table: Mapping[str, tuple[float, ...]], *answers: Any) -> None:
        super().__init__([json.dumps(one) for one in answers])
        self._table = table

    async def embed(self, request: EmbedRequest) -> EmbedResponse:
        self.embed_requests.append(request)
        vectors = tuple(self._table[text.split()[0]] for text in request.input)
        return EmbedResponse(model=request.model, vectors=vectors, usage=Usage(model_calls=1))


# -- inputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "inputs"),
    [
        (["a", {"b": 1}], [("input 1", "a", None), ("input 2", '{"b":1}', None)]),
        ({"x": "a", "y": [1]}, [("x", "a", None), ("y", "[1]", None)]),
        (
            [{"source": "x", "content": "a", "confidence": 0.5}, {"content": {"n": 1}}],
            [("x", "a", 0.5), ("input 2", '{"n":1}', None)],
        ),
        ({"inputs": {"x": {"content": "a", "confidence": 1}}, "question": "?"}, [("x", "a", 1.0)]),
    ],
)
def test_inputs_come_as_a_list_or_by_source(data: Any, inputs: list[Any]) -> None:
    found = inputs_of(data, 10)
    assert [(one.source, one.content, one.confidence) for one in found.inputs] == inputs
    assert found.question == ("?" if isinstance(data, dict) and "question" in data else "")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("text", "takes a list of inputs"),
        (None, "takes a list"),
        ([], "nothing to aggregate"),
        ({"inputs": []}, "nothing to aggregate"),
        (["x"] * 4, "4 inputs are over the limit of 3 inputs"),
        ([{"content": "x", "confidence": 2}], "<= 1.0"),
        ([{"content": "x", "source": 3}], "does not fit"),
        ({"inputs": ["a"], "questions": "?"}, "unknown member 'questions'"),
        ({"inputs": ["a"], "question": 1}, "`question` is a text"),
    ],
)
def test_other_inputs_are_refused(data: Any, said: str) -> None:
    with pytest.raises(InvalidPayload) as wrong:
        inputs_of(data, 3)
    assert said in str(wrong.value)


# -- duplicates --------------------------------------------------------------------------------


def test_texts_that_say_the_same_are_found() -> None:
    texts = ["The cat sat.", "the  CAT sat", "The cat sat down", "A dog"]
    assert exactly(texts) == [[0, 1], [2], [3]]
    long = "The quick brown fox jumps over the lazy dog and runs away"
    assert nearly([long, long.replace("lazy", "lazily"), "something else"]) == [[0, 1], [2]]
    assert by_meaning([(1, 0), (0.9, 0.1), (0, 1), (0, 0)], 0.85) == [[0, 1], [2], [3]]


@given(st.lists(st.text(), max_size=12))
def test_every_text_is_in_one_group(texts: list[str]) -> None:
    for groups in (exactly(texts), nearly(texts)):
        assert sorted(place for group in groups for place in group) == [*range(len(texts))]


# -- votes -------------------------------------------------------------------------------------


async def test_the_majority_wins_and_its_share_is_the_consensus(running: Running) -> None:
    data = {"a": "Yes", "b": "no", "c": "yes."}
    result = await aggregate(running, data, aggregation_strategy="voting_majority")
    assert result.data == {
        "aggregated_content": "Yes",
        "sources": ["a", "b", "c"],
        "strategy_used": "voting_majority",
        "conflicts_resolved": [
            {
                "topic": "the answer",
                "conflicting_sources": [["a", "c"], ["b"]],
                "resolution": "Yes",
                "reasoning": "2 of 3 votes",
            }
        ],
        "consensus_level": 0.6667,
        "summary_insights": "",
        "tokens_used": 0,
        "processing_time_ms": 0,
    }
    assert result.meta == {
        "type": "aggregation",
        "strategy": "voting_majority",
        "confidence": 0.6667,
        "below_threshold": True,
        "input_count": 3,
    }


def vote(strategy: Any, *votes: tuple[str, str, float | None], **options: Any) -> tuple[str, float]:
    inputs = [Input(source=s, content=c, confidence=n) for s, c, n in votes]
    groups = exactly([one.content for one in inputs])
    verdict = voted(
        inputs, groups, strategy, options.get("weights", {}), options.get("resolution", "vote")
    )
    return verdict.content, round(verdict.consensus, 3)


def test_weights_and_confidences_count_where_they_are_asked_for() -> None:
    votes = ("a", "x", 0.9), ("b", "y", 0.2), ("c", "y", 0.3)
    assert vote("voting_majority", *votes) == ("y", 0.667)
    assert vote("voting_weighted", *votes, weights={"a": 3}) == ("x", 0.6)
    assert vote("voting_weighted", *votes, weights={"b": 0, "c": 0}) == ("x", 1.0)
    assert vote("voting_confidence", *votes) == ("x", 0.643)
    assert vote("voting_confidence", ("a", "x", None), ("b", "y", 0.6)) == ("y", 0.545)


def test_of_equal_votes_the_surer_one_wins_and_then_the_first() -> None:
    assert vote("voting_majority", ("a", "x", 0.2), ("b", "y", 0.3))[0] == "y"
    assert vote("voting_majority", ("a", "x", None), ("b", "y", None))[0] == "x"
    assert vote(
        "voting_weighted", ("a", "x", None), ("b", "y", None), weights={"a": 0, "b": 0}
    ) == ("x", 0.0)


def test_without_unanimity_the_declared_rule_says_what_counts() -> None:
    votes = ("a", "x", 0.9), ("b", "y", 0.2), ("c", "y", None)
    assert vote("voting_unanimous", ("a", "x", None), ("b", "x", None)) == ("x", 1.0)
    assert vote("voting_unanimous", *votes) == ("y", 0.667)
    assert vote("voting_unanimous", *votes, resolution="confidence")[0] == "x"
    assert vote("voting_unanimous", *votes, resolution="merge")[0] == "a: x\nb, c: y"


# -- with a model ------------------------------------------------------------------------------

NEWS = {"a": "Rain on Monday", "b": "Rain, 20 degrees", "c": "Sun on Monday"}
READING = {
    "common_ground": "It rains on Monday",
    "agreeing_sources": ["a", "b"],
    "conflicts": [
        {
            "topic": "Monday",
            "positions": [
                {"position": "rain", "sources": ["a", "b"]},
                {"position": "sun", "sources": ["c"]},
            ],
        }
    ],
}
WRITTEN = {"content": "It will rain on Monday.", "insights": "bring an umbrella"}


async def test_a_consensus_is_read_resolved_and_written(running: Running) -> None:
    model = said(READING, {"resolution": "rain", "reasoning": "two see it"}, WRITTEN)
    result = await aggregate(running, {"inputs": NEWS, "question": "Which weather?"}, model)
    assert result.data["aggregated_content"] == "It will rain on Monday."
    assert result.data["summary_insights"] == "bring an umbrella"
    assert result.data["consensus_level"] == 0.6667
    assert result.data["conflicts_resolved"] == [
        {
            "topic": "Monday",
            "conflicting_sources": [["a", "b"], ["c"]],
            "resolution": "rain",
            "reasoning": "two see it",
        }
    ]
    assert result.data["tokens_used"] == result.usage.total_tokens > 0
    assert all("Which weather?" in asked(one) for one in model.requests)
    assert "This is decided:\n- Monday: rain" in asked(model.requests[2])
    assert (model.requests[0].temperature, model.requests[0].max_tokens) == (0.5, 1500)


@pytest.mark.parametrize(
    ("rule", "resolution", "why"),
    [
        ("vote", "rain", "2 of 3 votes"),
        ("confidence", "sun", "the highest confidence, 0.9"),
        ("merge", "a, b: rain; c: sun", "all that was said is kept"),
    ],
)
async def test_conflicts_are_resolved_by_the_declared_rule_without_the_model(
    running: Running, rule: str, resolution: str, why: str
) -> None:
    model = said(READING, WRITTEN)
    data = [
        {"source": s, "content": c, "confidence": 0.9 if s == "c" else 0.1} for s, c in NEWS.items()
    ]
    result = await aggregate(running, data, model, conflict_resolution=rule)
    (conflict,) = result.data["conflicts_resolved"]
    assert (conflict["resolution"], conflict["reasoning"]) == (resolution, why)
    assert model.calls == 2


async def test_weights_count_in_weighted_alone(running: Running) -> None:
    options: dict[str, Any] = {"source_weights": {"c": 8}, "conflict_resolution": "vote"}
    for strategy, level, resolution in (("consensus", 0.6667, "rain"), ("weighted", 0.2, "sun")):
        model = said(READING, WRITTEN)
        result = await aggregate(running, NEWS, model, aggregation_strategy=strategy, **options)
        assert result.data["consensus_level"] == level
        assert result.data["conflicts_resolved"][0]["resolution"] == resolution
        assert ("weight 8" in asked(model.requests[0])) is (strategy == "weighted")


async def test_a_source_that_the_model_makes_up_is_sent_back(running: Running) -> None:
    model = said({**READING, "agreeing_sources": ["a", "z"]}, {**READING, "conflicts": []}, WRITTEN)
    result = await aggregate(running, NEWS, model)
    assert result.data["conflicts_resolved"] == []
    assert "there is no source 'z'; the sources are 'a', 'b', 'c'" in asked(model.requests[1])


async def test_what_all_say_needs_no_model(running: Running) -> None:
    result = await aggregate(running, {"a": "Rain", "b": "rain."}, ScriptedModel())
    assert (result.data["aggregated_content"], result.data["consensus_level"]) == ("Rain", 1.0)


async def test_inputs_that_say_the_same_are_one_with_the_weight_of_all(running: Running) -> None:
    model = said({"common_ground": "rain", "agreeing_sources": ["a, b"], "conflicts": []}, WRITTEN)
    data = {"a": "Rain", "b": "rain", "c": "Sun"}
    result = await aggregate(running, data, model, aggregation_strategy="weighted")
    assert result.data["consensus_level"] == 0.6667
    assert result.data["sources"] == ["a", "b", "c"]
    assert asked(model.requests[0]).count("Source ") == 2


async def test_groups_of_one_meaning_are_found_by_their_embeddings(running: Running) -> None:
    table = {"Rain": (1.0, 0.0), "Rain,": (0.95, 0.1), "Sun": (0.0, 1.0)}
    model = Vectors(table, WRITTEN)
    result = await aggregate(
        running, NEWS, model, aggregation_strategy="semantic", embedding_model="test/vectors"
    )
    assert result.data["semantic_clusters"] == [["a", "b"], ["c"]]
    assert result.data["consensus_level"] == 0.6667
    assert model.embed_requests[0].model == "test/vectors"
    assert "Group 1, of a, b:" in asked(model.requests[0])


async def test_duplicates_by_meaning_are_one_input(running: Running) -> None:
    table = {"Rain": (1.0, 0.0), "Rain,": (0.95, 0.1), "Sun": (0.0, 1.0)}
    result = await aggregate(
        running,
        NEWS,
        Vectors(table),
        aggregation_strategy="voting_majority",
        deduplication_method="semantic",
    )
    assert result.data["aggregated_content"] == "Rain on Monday"
    assert result.data["consensus_level"] == 0.6667


async def test_summaries_of_three_are_summed_up_again(running: Running) -> None:
    def answer(request: ChatRequest) -> str:
        if "Sum up" in asked(request):
            return json.dumps({"content": f"sum of {asked(request).count('text')}"})
        if "which of the sources agree" in asked(request):
            return json.dumps({"common_ground": "x", "agreeing_sources": ["input 1"]})
        return json.dumps(WRITTEN)

    model = ScriptedModel([answer], repeat=True)
    texts = [f"text {number}" for number in range(1, 11)]
    result = await aggregate(running, texts, model, aggregation_strategy="hierarchical")
    sums = [one for one in model.requests if "Sum up" in asked(one)]
    assert [one.max_tokens for one in sums] == [200] * 6  # four groups of ten, two of those
    assert result.data["consensus_level"] == 0.1
    assert result.data["aggregated_content"] == WRITTEN["content"]


async def test_an_answer_of_passages_cites_only_those_that_there_are(running: Running) -> None:
    table = {"Which": (1.0, 0.0), "Rain": (1.0, 0.1), "Rain,": (0.5, 0.5), "Sun": (0.0, 1.0)}
    wrong, right = {"content": "Rain [7]."}, {"content": "Rain [1], and 20 degrees [2]."}
    model = Vectors(table, wrong, right)
    result = await aggregate(
        running,
        {"inputs": NEWS, "question": "Which weather?"},
        model,
        aggregation_strategy="rag_based",
        source_weights={"c": 2},
    )
    assert result.data["citations"] == [{"number": 1, "source": "a"}, {"number": 2, "source": "b"}]
    assert result.data["consensus_level"] == 0.5
    assert "there is no passage [7]; the passages are [1] to [3]" in asked(model.requests[1])


async def test_insights_are_left_out_when_nobody_wants_them(running: Running) -> None:
    model = said({**READING, "conflicts": []}, WRITTEN)
    result = await aggregate(running, NEWS, model, summarization_enabled=False)
    assert result.data["summary_insights"] == ""
    assert "Leave `insights` empty" in asked(model.requests[1])


@pytest.mark.parametrize("data", ["text", [], ["x"] * 21, {"inputs": ["a\x07b", "c"]}])
async def test_what_cannot_be_aggregated_costs_nothing(running: Running, data: Any) -> None:
    model = ScriptedModel()
    with pytest.raises(RemoteError) as failed:
        await aggregate(running, data, model)
    assert (failed.value.cause, failed.value.attempts, model.calls) == ("invalid_payload", 1, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aggregation_strategy": "guess"}, "aggregation_strategy"),
        ({"conflict_resolution": "fight"}, "conflict_resolution"),
        ({"max_input_sources": 201}, "200"),
        ({"timeout_ms": 5}, "timeout_ms"),
        ({"timeout_ms": 300_000}, "a run of the agent ends after 300 s"),
        ({"timeout_ms": 5_000, "timeout": "5s"}, "leaves no time for an answer"),
        ({"source_weights": {"a": -1}}, "a weight is 0"),
        ({"consensus_threshold": 2}, "consensus_threshold"),
        ({"embedding_model": "a/b"}, "embedding_model is only used"),
        ({"agregation_strategy": "x"}, "did you mean 'aggregation_strategy'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        editor(**options).build()
