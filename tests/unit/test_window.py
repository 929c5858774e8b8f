"""How many tokens messages have, and which of them go when they are too many."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

import pytest

from aixgo.models import ChatMessage, ImagePart, ToolCall, ToolDefinition
from aixgo.models.window import (
    IMAGE_TOKENS,
    MOST_RATIO,
    Gauge,
    measured,
    size_of,
    surplus,
    tokens_of,
)

TEXTS = {
    "English": "The quick brown fox jumps over the lazy dog, and then goes home because it is "
    "tired; nobody has seen it since. ",
    "German": "Die Größe der Bücher überrascht den Käufer, der über den Fluss geht. ",
    "Russian": "Мы сегодня гуляем в парке, а потом обедаем в ресторане неподалёку. ",
    "Arabic": "نذهب اليوم إلى الحديقة ثم نتناول الغداء في مطعم قريب. ",
    "Hindi": "आज हम पार्क में टहलने जाते हैं और फिर पास के रेस्तरां में खाना खाते हैं। ",
    "Chinese": "我们今天去公园散步,然后在附近的餐馆吃午饭。",
    "Japanese": "私たちは今日公園を散歩し、近くのレストランで昼食を食べます。",
    "code": "def f(x: int) -> int:\n    return {k: v for k, v in items.items() if v > x}\n",
    "JSON": '{"order": "A-1093", "price": 12.50, "items": [{"sku": "x-11", "n": 2}]}\n',
    "ids": "0190a5f0-9d1c-7c3e-8f2b-1a2b3c4d5e6f 1234567890 ",
    "emojis": "😀🎉👩‍👩‍👧 ",
}


@pytest.mark.parametrize("tokenizer", ["cl100k_base", "o200k_base"])
@pytest.mark.parametrize("kind", TEXTS)
def test_the_estimate_is_near_what_tokenizers_count_and_rather_above(
    tokenizer: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("litellm")  # it brings the files that tiktoken would download
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder / "litellm_core_utils/tokenizers"))
    import tiktoken

    text = TEXTS[kind] * 5
    counted = len(tiktoken.get_encoding(tokenizer).encode(text))
    assert 0.9 * counted <= tokens_of(text) <= 3 * counted


def test_a_message_counts_its_calls_and_images() -> None:
    plain = ChatMessage(role="assistant", content="hello")
    calling = ChatMessage(
        role="assistant", content="hello", tool_calls=(ToolCall(id="1", name="t", arguments="{1}"),)
    )
    seeing = ChatMessage(role="user", content=(ImagePart(url="https://h/i.png"),))
    assert size_of(calling) > size_of(plain) > tokens_of("hello")
    assert size_of(seeing) > IMAGE_TOKENS


def test_a_gauge_learns_from_what_a_model_counted() -> None:
    tools = [ToolDefinition(name="t", description="a tool", parameters={"type": "object"})]
    gauge, messages = Gauge(tools), [ChatMessage(role="user", content="hello there " * 50)]
    estimated = measured(messages, gauge)
    gauge.learn(messages, 2 * estimated)
    assert measured(messages, gauge) == 2 * estimated
    gauge.learn(messages, 0)  # a model that counts nothing says nothing
    assert measured(messages, gauge) == 2 * estimated
    gauge.learn(messages, 100 * estimated)
    assert gauge.ratio == MOST_RATIO


def said(role: str, text: str = "word " * 50) -> ChatMessage:
    return ChatMessage(role=role, content=text)  # type: ignore[arg-type]


def calls(*ids: str) -> ChatMessage:
    used = tuple(ToolCall(id=one, name="t") for one in ids)
    return ChatMessage(role="assistant", content="word " * 50, tool_calls=used)


def result(id_: str) -> ChatMessage:
    return ChatMessage(role="tool", tool_call_id=id_, name="t", content="word " * 50)


def gone(messages: list[ChatMessage], room: int, **options: int) -> list[int]:
    """Return what goes when there is room for so many of these messages."""
    gauge = Gauge()
    limit = int(gauge.size(messages[-1]) * (room + 0.5))
    return surplus(messages, gauge, limit=limit, **options)


TALK = [said("user"), said("assistant")] * 3


def test_nothing_goes_while_there_is_room() -> None:
    assert gone([*TALK, said("user")], 7, current=6) == []


@pytest.mark.parametrize(
    ("room", "options", "wanted"),
    [
        (6, {}, [0, 1]),
        (4, {}, [0, 1, 2, 3]),
        (1, {}, [0, 1, 2, 3, 4, 5]),
        (0, {}, [0, 1, 2, 3, 4, 5]),  # what is to be answered stays whatever the limit
        (6, {"pinned": 1}, [2, 3]),  # an exchange stays whole
        (1, {"pinned": 2}, [2, 3, 4, 5]),
        (1, {"keep": 2}, [0, 1, 2, 3]),
        (1, {"pinned": 1, "keep": 3}, [2, 3]),
        (1, {"keep": 100}, []),
    ],
)
def test_the_oldest_exchanges_go_first(
    room: int, options: dict[str, int], wanted: list[int]
) -> None:
    assert gone([*TALK, said("user")], room, current=6, **options) == wanted


def test_what_the_system_says_stays() -> None:
    messages = [said("system"), said("system"), *TALK, said("user")]
    assert gone(messages, 1, current=8) == [2, 3, 4, 5, 6, 7]


def test_a_call_goes_with_its_results() -> None:
    messages = [*TALK[:2], said("user"), calls("a", "b"), result("a"), result("b"), calls("c")]
    messages += [result("c"), said("assistant"), said("user")]
    assert gone(messages, 8, current=2) == [0, 1]
    assert gone(messages, 7, current=2) == [0, 1, 3, 4, 5]
    assert gone(messages, 1, current=2) == [0, 1, 3, 4, 5, 6, 7]
    assert gone(messages, 1, current=2, keep=3) == [0, 1, 3, 4, 5]


def test_whatever_goes_calls_and_results_stay_together() -> None:
    chance = random.Random(7)
    for _ in range(500):
        messages, number = [said("system")], 0
        for _ in range(chance.randrange(6)):
            messages.append(said("user"))
            for _ in range(chance.randrange(3)):
                used = [f"c{number + one}" for one in range(chance.randrange(1, 3))]
                number += len(used)
                messages += [calls(*used), *map(result, used)]
            messages.append(said("assistant"))
        current = len(messages)
        messages.append(said("user"))
        for _ in range(chance.randrange(4)):
            messages += [calls(f"c{number}"), result(f"c{number}")]
            number += 1
        options = {"pinned": chance.randrange(4), "keep": chance.randrange(5)}
        left = set(range(len(messages)))
        left -= set(gone(messages, chance.randrange(12), current=current, **options))
        kept = [messages[index] for index in sorted(left)]
        asked = [call.id for one in kept for call in one.tool_calls]
        answered = [one.tool_call_id for one in kept if one.role == "tool"]
        assert asked == answered
        assert kept[1].role == "user"
        assert {0, current, len(messages) - 1} <= left
