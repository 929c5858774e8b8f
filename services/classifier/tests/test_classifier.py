"""A classifier says a category and how sure it is, or says that it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aixgo import Agent, ConfigError
from aixgo.errors import BadModelAnswer, ModelUnavailable, RemoteError
from aixgo.models import ChatRequest
from aixgo.models.scripted import ScriptedModel
from aixgo.models.similarity import cosine
from aixgo.testing.local import Running
from aixgo_services.classifier.embeddings import softmax

pytestmark = pytest.mark.virtual_time

CATEGORIES: list[dict[str, Any]] = [
    {"name": "billing", "description": "payments", "keywords": ["refund", "charge"]},
    {"name": "technical", "keywords": ["crash"]},
    {"name": "general"},
]


def triage(**options: Any) -> Agent:
    options = {"categories": CATEGORIES, **options}
    return Agent("triage", role="classifier", model="test/scripted", **options)


def says(category: str, confidence: float | None = None, **more: Any) -> str:
    answer = {"category": category, "confidence": confidence, **more}
    return json.dumps({key: value for key, value in answer.items() if value is not None})


async def ask(running: Running, model: ScriptedModel, text: str = "hello", **options: Any) -> Any:
    async with running(triage(**options), model=model) as system:
        return await system.call("triage", text)


# -- answers -----------------------------------------------------------------------------------


async def test_the_category_and_confidence_are_the_reply_and_its_metadata(
    running: Running,
) -> None:
    result = await ask(running, ScriptedModel([says("billing", 0.875)]))
    assert result.data == {"category": "billing", "confidence": 0.875}
    assert result.meta == {"category": "billing", "confidence": 0.875, "below_threshold": False}


@pytest.mark.parametrize(("confidence", "below"), [(0.69, True), (0.7, False), (0, True)])
async def test_a_confidence_below_the_threshold_is_marked(
    running: Running, confidence: float, below: bool
) -> None:
    result = await ask(running, ScriptedModel([says("billing", confidence)]))
    assert result.meta["below_threshold"] is below
    assert result.meta["category"] == "billing"


async def test_a_reason_is_asked_for_first_and_kept(running: Running) -> None:
    model = ScriptedModel([says("billing", 0.9, reasoning="It is about money.")])
    result = await ask(
        running,
        model,
        reasoning=True,
        few_shot_examples=[{"input": "Pay me", "category": "billing", "reason": "Money."}],
    )
    assert result.data["reasoning"] == "It is about money."
    schema = schema_of(model.requests[0])
    assert list(schema["properties"]) == ["reasoning", "category", "confidence"]
    assert model.requests[0].messages[2].text == (
        '{"reasoning": "Money.", "category": "billing", "confidence": 0.95}'
    )


# -- votes -------------------------------------------------------------------------------------


async def test_votes_are_counted_and_their_share_is_the_confidence(running: Running) -> None:
    answers = [says("technical"), says("billing"), says("technical"), says("technical")]
    result = await ask(running, ScriptedModel(answers), votes=4)
    assert result.data == {
        "category": "technical",
        "confidence": 0.75,
        "votes": {"technical": 3, "billing": 1},
    }
    assert result.meta["below_threshold"] is False
    assert result.usage.model_calls == 4


async def test_votes_that_disagree_are_below_the_threshold(running: Running) -> None:
    answers = [says("technical"), says("billing"), says("technical")]
    result = await ask(running, ScriptedModel(answers), votes=3)
    assert result.meta["category"] == "technical"
    assert result.meta["confidence"] == pytest.approx(2 / 3)
    assert result.meta["below_threshold"] is True


async def test_a_vote_does_not_count_the_models_own_number(running: Running) -> None:
    model = ScriptedModel([says("billing")], repeat=True)
    result = await ask(running, model, votes=2)
    assert result.meta["confidence"] == 1.0
    assert list(schema_of(model.requests[0])["properties"]) == ["category"]


async def test_each_vote_sees_the_categories_and_examples_in_another_order(
    running: Running,
) -> None:
    model = ScriptedModel([says("billing")], repeat=True)
    with_examples = [{**category, "examples": [category["name"] + "!"]} for category in CATEGORIES]
    await ask(running, model, votes=3, categories=with_examples)
    systems = sorted(request.messages[0].text for request in model.requests)
    assert len(set(systems)) == 3
    last_examples = {request.messages[-3].text.split("!")[0] for request in model.requests}
    assert last_examples == {"billing", "technical", "general"}


async def test_a_vote_that_fails_fails_the_call_with_its_own_error(running: Running) -> None:
    model = ScriptedModel([says("billing"), ModelUnavailable("the provider is down")])
    with pytest.raises(RemoteError, match="the provider is down") as caught:
        await ask(running, model, votes=2, retry={"max_attempts": 1})
    assert caught.value.cause == "model_unavailable"


# -- several categories ------------------------------------------------------------------------


async def test_alternatives_are_named_with_their_confidence(running: Running) -> None:
    numbers = {"general": 0.1, "technical": 0.3, "billing": 0.9}
    others = [{"category": name, "confidence": number} for name, number in numbers.items()]
    model = ScriptedModel([says("billing", 0.6, alternatives=others)])
    result = await ask(running, model, alternatives=1)
    assert result.data == {
        "category": "billing",
        "confidence": 0.6,
        "alternatives": [{"category": "technical", "confidence": 0.3}],
    }
    assert "alternatives" in schema_of(model.requests[0])["properties"]


async def test_alternatives_of_votes_are_the_other_votes(running: Running) -> None:
    answers = [says("technical"), says("billing"), says("technical"), says("general")]
    model = ScriptedModel(answers)
    result = await ask(running, model, votes=4, alternatives=2)
    assert result.data["alternatives"] == [
        {"category": "billing", "confidence": 0.25},
        {"category": "general", "confidence": 0.25},
    ]
    assert "alternatives" not in schema_of(model.requests[0])["properties"]


def labels(**numbers: float) -> str:
    return json.dumps({"labels": [{"category": c, "confidence": n} for c, n in numbers.items()]})


async def test_a_message_may_belong_to_several_categories(running: Running) -> None:
    model = ScriptedModel([labels(general=0.2, technical=0.7, billing=0.9)])
    shot = {"input": "Pay for the crash", "category": ["technical", "billing"]}
    result = await ask(running, model, multi_label=True, few_shot_examples=[shot])
    assert result.data == {
        "category": "billing",
        "confidence": 0.9,
        "categories": [
            {"category": "billing", "confidence": 0.9},
            {"category": "technical", "confidence": 0.7},
        ],
    }
    assert result.meta["categories"] == ["billing", "technical"]
    messages = model.requests[0].messages
    assert messages[0].text.startswith("Say for each message which of these categories")
    assert json.loads(messages[2].text)["labels"] == [
        {"category": "technical", "confidence": 0.95},
        {"category": "billing", "confidence": 0.95},
    ]


async def test_labels_below_the_threshold_are_left_out_and_the_best_is_marked(
    running: Running,
) -> None:
    result = await ask(running, ScriptedModel([labels(general=0.2)]), multi_label=True)
    assert result.data == {"category": "general", "confidence": 0.2, "categories": []}
    assert result.meta["below_threshold"] is True


async def test_no_label_at_all_is_a_wrong_answer(running: Running) -> None:
    model = ScriptedModel([labels(), labels(general=1)])
    result = await ask(running, model, multi_label=True)
    assert (result.meta["category"], model.calls) == ("general", 2)


async def test_votes_for_several_categories_are_shares_of_each(running: Running) -> None:
    def named(*names: str) -> str:
        return json.dumps({"labels": [{"category": name} for name in names]})

    answers = [named("billing", "technical", "billing"), named("billing"), named("technical")]
    result = await ask(
        running, ScriptedModel(answers), votes=3, multi_label=True, confidence_threshold=0.6
    )
    assert result.data["votes"] == {"billing": 2, "technical": 2}
    assert result.meta["categories"] == ["billing", "technical"]
    assert result.meta["confidence"] == pytest.approx(2 / 3)


# -- embeddings --------------------------------------------------------------------------------


async def test_the_nearest_category_is_found_without_asking_a_model(running: Running) -> None:
    model = ScriptedModel([])
    categories = [
        {"name": "billing", "examples": ["I was charged twice", "Where is my refund?"]},
        {"name": "technical", "description": "crashes", "keywords": ["hang"]},
    ]
    result = await ask(
        running, model, text="Where is my refund?", categories=categories, use_embeddings=True,
        embedding_model="test/vectors", alternatives=1,
        few_shot_examples=[{"input": "It is slow", "category": "technical"}],
    )  # fmt: skip
    assert result.meta["category"] == "billing"
    (other,) = result.data["alternatives"]
    assert result.data["confidence"] + other["confidence"] == pytest.approx(1)
    (request,) = model.embed_requests
    assert request.model == "test/vectors"
    assert request.input == (
        "Where is my refund?", "billing", "I was charged twice", "Where is my refund?",
        "technical: crashes (hang)", "It is slow",
    )  # fmt: skip


def test_confidences_of_near_vectors_are_shares_of_one() -> None:
    shares = softmax({"a": 0.8, "b": 0.9, "c": -1.0})
    assert [*shares] == ["b", "a", "c"]
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["b"] == pytest.approx(0.88, abs=0.005)
    assert cosine([0, 0], [1, 0]) == 0
    assert cosine([2, 0], [-1, 0]) == -1


# -- prompts -----------------------------------------------------------------------------------


def schema_of(request: ChatRequest) -> dict[str, Any]:
    assert request.response is not None
    return request.response.schema


async def test_the_answer_is_constrained_to_the_declared_categories(running: Running) -> None:
    model = ScriptedModel([says("billing", 1)])
    await ask(running, model)
    schema = schema_of(model.requests[0])
    assert sorted(schema["properties"]["category"]["enum"]) == ["billing", "general", "technical"]
    assert schema["required"] == ["category", "confidence"]
    assert schema["additionalProperties"] is False
    request = model.requests[0]
    assert (request.temperature, request.max_tokens) == (0.3, 500)


async def test_declared_settings_replace_the_defaults(running: Running) -> None:
    model = ScriptedModel([says("billing", 1)])
    await ask(running, model, temperature=0, max_tokens=9, prompt="Sort mail:")
    request = model.requests[0]
    assert (request.temperature, request.max_tokens) == (0, 9)
    assert request.messages[0].text.splitlines()[0] == "Sort mail:"


async def test_keywords_found_in_the_message_are_shown_as_evidence(running: Running) -> None:
    model = ScriptedModel([says("billing", 1)])
    await ask(running, model, text="Refunds! I was CHARGED, and the incrash is discharged.")
    question = model.requests[0].messages[-1].text
    assert question.endswith("\n\nKeywords: refund -> billing, charge -> billing")


async def test_a_message_without_keywords_says_so(running: Running) -> None:
    model = ScriptedModel([says("general", 1)])
    await ask(running, model, text="hello")
    assert model.requests[0].messages[-1].text == "hello\n\nKeywords: none"


async def test_without_declared_keywords_the_message_stays_as_it_is(running: Running) -> None:
    model = ScriptedModel([says("a", 1)])
    await ask(running, model, categories=[{"name": "a"}, {"name": "b"}])
    assert model.requests[0].messages[-1].text == "hello"
    assert model.requests[0].messages[0].text.endswith("\n- a\n- b")


async def test_at_most_two_examples_of_a_category_and_three_few_shots_are_shown(
    running: Running,
) -> None:
    model = ScriptedModel([says("a", 1)])
    categories = [
        {"name": "a", "examples": ["a1", "a2", "a3"]},
        {"name": "b", "examples": ["b1"]},
    ]
    shots = [{"input": f"s{number}", "category": "b"} for number in range(1, 5)]
    await ask(running, model, categories=categories, few_shot_examples=shots)
    messages = model.requests[0].messages
    asked = [message.text for message in messages if message.role == "user"]
    assert asked == ["s1", "s2", "s3", "a1", "b1", "a2", "hello"]
    answers = [message.text for message in messages if message.role == "assistant"]
    assert answers[3] == '{"category": "a", "confidence": 0.95}'


# -- wrong answers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (says("poetry", 0.9), "Invalid enum value 'poetry'"),
        (says("billing", 1.5), "<= 1.0 - at `$.confidence`"),
        (says("billing"), "missing required field `confidence`"),
        ('{"category": 7, "confidence": 1}', "category"),
        ("[]", "object"),
    ],
    ids=["unknown", "over-one", "no-confidence", "no-text", "no-object"],
)
async def test_a_wrong_answer_is_told_to_the_model_and_asked_again(
    running: Running, wrong: str, words: str
) -> None:
    model = ScriptedModel([wrong, says("billing", 0.8)])
    result = await ask(running, model)
    assert result.meta["category"] == "billing"
    correction = model.requests[1].messages[-1]
    assert correction.role == "user"
    assert words in correction.text
    assert "billing, technical, general" in correction.text


async def test_the_model_sees_its_own_wrong_answer(running: Running) -> None:
    model = ScriptedModel([says("billing", 1.5), says("billing", 0.8)])
    await ask(running, model)
    answer = model.requests[1].messages[-2]
    assert (answer.role, answer.text) == ("assistant", says("billing", 1.5))


async def test_an_answer_that_is_no_json_is_asked_again(running: Running) -> None:
    model = ScriptedModel(["Billing, I think.", says("billing", 0.8)])
    result = await ask(running, model)
    assert result.meta["category"] == "billing"
    assert "cannot be used" in model.requests[1].messages[-1].text


async def test_four_wrong_answers_are_an_error_that_is_not_retried(running: Running) -> None:
    model = ScriptedModel([says("poetry", 0.9)], repeat=True)
    with pytest.raises(RemoteError, match=r"fits 'classification' in 4 answers.*poetry") as caught:
        await ask(running, model)
    assert (caught.value.cause, caught.value.attempts) == (BadModelAnswer.code, 1)
    assert model.calls == 4


async def test_what_no_model_should_see_is_refused(running: Running) -> None:
    model = ScriptedModel([])
    with pytest.raises(RemoteError) as caught:
        await ask(running, model, text="a\x07b")
    assert caught.value.cause == "invalid_payload"
    assert model.calls == 0


# -- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"categories": [{"name": "a"}]}, ["categories", "2"]),
        ({"categories": [{"name": str(n)} for n in range(101)]}, ["categories", "100"]),
        ({"categories": [{"name": "a"}, {"name": "a"}]}, ["'a'", "two categories"]),
        ({"categories": [{"name": ""}, {"name": "b"}]}, ["categories.0.name"]),
        ({"categories": [{"name": "a", "colour": 1}, {"name": "b"}]}, ["colour"]),
        ({"confidence_threshold": 1.1}, ["confidence_threshold", "1.1"]),
        ({"votes": 0}, ["votes", "1"]),
        ({"votes": 16}, ["votes", "15"]),
        ({"few_shot_examples": [{"input": "x", "category": "z"}]}, ["'z'", "billing, technical"]),
        ({"alternatives": 11}, ["alternatives", "10"]),
        ({"multi_label": True, "alternatives": 1}, ["alternatives belongs to a single category"]),
        ({"multi_label": "maybe"}, ["multi_label"]),
        ({"embedding_model": "a/b"}, ["only used with `use_embeddings: true`"]),
        ({"use_embeddings": True, "votes": 2}, ["asks no model, so it has no votes"]),
        (
            {"use_embeddings": True, "multi_label": True, "reasoning": True},
            ["it has no multi_label, reasoning"],
        ),
        ({"few_shot_examples": [{"input": "x", "category": ["billing"]}]}, ["multi_label: true"]),
        (
            {"multi_label": True, "few_shot_examples": [{"input": "x", "category": []}]},
            ["is not empty"],
        ),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        triage(**options)
    for word in words:
        assert word in str(caught.value)


def test_categories_are_required() -> None:
    with pytest.raises(ConfigError, match="categories"):
        Agent("triage", role="classifier")
