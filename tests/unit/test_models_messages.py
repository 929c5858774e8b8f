"""Messages as text or parts: what they look like on the wire, and what providers are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aixgo.config.agents import AgentSpec
from aixgo.envelope import Override
from aixgo.errors import BadModelRequest, UnsupportedByModel
from aixgo.models import (
    ChatMessage,
    ChatRequest,
    Content,
    ImagePart,
    LocalModel,
    OpenAICompatible,
    TextPart,
    ToolCall,
    text_of,
)
from aixgo.models.bus import ModelTask, decode_task
from aixgo.models.providers import PROVIDERS
from aixgo.models.wires.litellm import chat_fields
from aixgo.steps.overrides import overridden
from aixgo.testing.fake_provider import FakeProvider, fake_provider
from aixgo.testing.waiting import PATIENCE_SECONDS

PNG = b"\x89PNG\r\n"
DATA_URL = "data:image/png;base64,iVBORw0K"
LOOK = (
    TextPart(text="What is this? "),
    ImagePart(url="https://example.com/cat.png"),
    ImagePart(data=PNG, media_type="image/png"),
    TextPart(text="Be short."),
)


def asked(content: Content, role: Any = "user", model: str = "openai/gpt-4o") -> ChatRequest:
    message = ChatMessage(role=role, content=content, tool_call_id="c" if role == "tool" else "")
    return ChatRequest(model=model, messages=(message,), timeout=PATIENCE_SECONDS)


def test_plain_text_stays_a_plain_string_on_the_wire() -> None:
    wire = msgspec.json.encode(ChatMessage(role="user", content="hi"))
    assert wire == b'{"role":"user","content":"hi"}'


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b'{"role":"user","content":"hi"}', ChatMessage(role="user", content="hi")),
        (
            b'{"role":"assistant","tool_calls":[{"id":"a","name":"f"}]}',
            ChatMessage(role="assistant", tool_calls=(ToolCall(id="a", name="f"),)),
        ),
        (
            b'{"role":"user","content":[{"type":"text","text":"a"},{"type":"image",'
            b'"url":"https://h/i.png"},{"type":"image","data":"iVBORw0K","media_type":"image/png"}]}',
            ChatMessage(
                role="user",
                content=(
                    TextPart(text="a"),
                    ImagePart(url="https://h/i.png"),
                    ImagePart(data=PNG, media_type="image/png"),
                ),
            ),
        ),
    ],
)
def test_records_are_read_as_they_were_written(record: bytes, message: ChatMessage) -> None:
    assert msgspec.json.decode(record, type=ChatMessage) == message
    assert msgspec.json.encode(message) == record


def test_the_text_of_a_message_is_that_of_its_parts() -> None:
    assert text_of("hi") == "hi"
    assert ChatMessage(role="user", content=LOOK).text == "What is this? Be short."
    assert ChatMessage(role="user", content=LOOK).images == (LOOK[1], LOOK[2])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "neither"),
        ({"url": "https://h/i.png", "data": PNG}, "both"),
        ({"data": PNG}, "media_type"),
        ({"data": PNG, "media_type": "text/html"}, "text/html"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({"url": DATA_URL}, "as `data`"),
        ({"url": "https://"}, "http"),
        ({"url": "https://h/a b"}, "http"),
    ],
)
def test_an_image_that_is_none_is_refused_here_and_on_the_wire(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ImagePart(**fields)
    part = {"type": "image", **{k: v for k, v in fields.items() if k != "data"}}
    if "data" in fields:
        part["data"] = "iVBORw0K"
    task = {"chat": {"model": "a/b", "messages": [{"role": "user", "content": [part]}]}}
    with pytest.raises(BadModelRequest, match=said):
        decode_task(msgspec.json.encode(task))


@pytest.fixture
async def server() -> AsyncIterator[FakeProvider]:
    async with fake_provider() as running:
        yield running


async def test_chat_completions_get_images_as_image_urls(server: FakeProvider) -> None:
    model = OpenAICompatible(server.base_url)
    await model.chat(asked(LOOK))
    await model.close()
    assert server.requests[0].body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this? "},
                {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
                {"type": "image_url", "image_url": {"url": DATA_URL}},
                {"type": "text", "text": "Be short."},
            ],
        }
    ]


async def test_parts_of_text_alone_are_sent_as_text_which_every_server_knows(
    server: FakeProvider,
) -> None:
    model = OpenAICompatible(server.base_url)
    await model.chat(asked((TextPart(text="a"), TextPart(text="b"))))
    await model.close()
    assert server.requests[0].body["messages"][0]["content"] == "ab"


async def test_the_responses_api_gets_images_as_input_images(server: FakeProvider) -> None:
    model = OpenAICompatible(server.base_url, wire="responses")
    await model.chat(asked(LOOK))
    await model.chat(asked(LOOK[1:], role="tool"))
    await model.close()
    asking, result = (request.body["input"][0] for request in server.requests)
    assert asking["content"] == [
        {"type": "input_text", "text": "What is this? "},
        {"type": "input_image", "image_url": "https://example.com/cat.png"},
        {"type": "input_image", "image_url": DATA_URL},
        {"type": "input_text", "text": "Be short."},
    ]
    assert result["output"] == asking["content"][1:]


@pytest.mark.parametrize(
    ("wire", "role"),
    [
        ("chat", "system"),
        ("chat", "assistant"),
        ("chat", "tool"),
        ("responses", "system"),
        ("responses", "assistant"),
    ],
)
async def test_an_image_where_the_wire_has_no_place_for_it_is_a_bad_request(
    wire: Any, role: str, server: FakeProvider
) -> None:
    model = OpenAICompatible(server.base_url, wire=wire)
    with pytest.raises(BadModelRequest, match=f"role '{role}' has an image"):
        await model.chat(asked(LOOK, role=role))
    await model.close()
    assert server.count == 0


def test_litellm_gets_bytes_and_never_fetches_an_address_for_us() -> None:
    provider = PROVIDERS["anthropic"]
    fields = chat_fields(asked(LOOK[2:], model="anthropic/claude"), provider)
    assert fields["messages"][0]["content"][0]["image_url"]["url"] == DATA_URL
    with pytest.raises(UnsupportedByModel, match="as bytes only"):
        chat_fields(asked(LOOK, model="anthropic/claude"), provider)


async def test_the_local_model_says_that_it_reads_text_only() -> None:
    model = LocalModel()
    with pytest.raises(UnsupportedByModel, match="reads text only"):
        await model.chat(asked(LOOK, model="local/smollm2"))
    await model.close()


def test_another_prompt_replaces_the_declared_one_in_the_part_that_has_it() -> None:
    system = ChatMessage(
        role="system", content=(TextPart(text="Intro. "), TextPart(text="Be short. Bye."))
    )
    task = ModelTask(chat=ChatRequest(model="a/b", messages=(system, asked(LOOK).messages[0])))
    spec = AgentSpec(name="x", role="custom", prompt="Be short.")
    fork = Override(run="r", agent="x", step="", prompt="Be long.")
    changed = overridden(task, [fork], "s", spec, "a/b").request
    assert isinstance(changed, ChatRequest)
    assert changed.messages[0].content == (
        TextPart(text="Intro. "),
        TextPart(text="Be long. Bye."),
    )


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a....", "image/gif"),
        (b"RIFF\n\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_of_a_file_is_what_its_bytes_say(data: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(data)
    assert ImagePart.of_file(path) == ImagePart(data=data, media_type=kind)


def test_a_file_that_is_no_image_or_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"<svg></svg>")
    with pytest.raises(ValueError, match="not a PNG, JPEG, GIF or WebP"):
        ImagePart.of_file(path)
    path.write_bytes(b"\xff\xd8\xff" + b"x" * 10)
    assert ImagePart.of_file(path, limit=13).media_type == "image/jpeg"
    with pytest.raises(ValueError, match="over 12 bytes"):
        ImagePart.of_file(path, limit=12)
