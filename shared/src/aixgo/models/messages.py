"""Messages of a conversation: text or parts, and the tool calls that a model asks for.

They are durable: a message that was recorded by this release is read by every later one. Plain
text stays a plain JSON string on the wire; parts are objects that say their `type`, and a later
release may know more of them (`docs/adr/0012-message-parts.md`).
"""

from __future__ import annotations

import re
from base64 import b64encode
from os import PathLike, fspath
from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]

_IMAGE_TYPE = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,60}")
_MARKS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
MAX_IMAGE_BYTES = 5 * 1024 * 1024
"""Of one image from a file: what Anthropic takes, the least of the providers."""

_WEB = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)


class TextPart(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="text"
):
    """A piece of text."""

    text: str


class ImagePart(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="image"
):
    """An image: its address, or its bytes with their media type.

    Attributes:
        url: http(s), fetched by the provider and not by this process.
        data: the bytes; base64 on the wire.
        media_type: of `data`, such as `image/png`.

    Raises:
        ValueError: it has both an address and bytes or neither, bytes without an image's media
            type, or an address that is not http(s).
    """

    url: str = ""
    data: bytes = b""
    media_type: str = ""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.data):
            raise ValueError(
                "an image has either a `url` or `data` (its bytes, base64 on the wire), not "
                + ("both" if self.url else "neither")
            )
        if self.url and not _WEB.fullmatch(self.url):
            raise ValueError(
                f"the `url` of an image begins with http:// or https://, not {self.url[:20]!r}; "
                "give the bytes of other images as `data` with a `media_type`"
            )
        if self.data and not _IMAGE_TYPE.fullmatch(self.media_type):
            raise ValueError(
                f"`media_type` {self.media_type[:60]!r} is not that of an image; write what the "
                "bytes are, for example 'image/png'"
            )

    @staticmethod
    def of_file(path: str | PathLike[str], *, limit: int = MAX_IMAGE_BYTES) -> ImagePart:
        """Return the image in a file; what it is, its first bytes say, and not its name.

        It reads the file: on an event loop, call it with `asyncio.to_thread`.

        Args:
            path: a PNG, JPEG, GIF or WebP file.
            limit: largest size in bytes; 5 MiB is what every provider takes.

        Raises:
            ValueError: the file is larger, or is none of these.
            OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ValueError(
                f"{fspath(path)!r} is over {limit:,} bytes, the limit of an image; make it smaller,"
                " or raise `limit` where the provider takes more"
            )
        media_type = next((kind for mark, kind in _MARKS if mark.match(data)), "")
        if not media_type:
            raise ValueError(
                f"{fspath(path)!r} begins with {data[:8]!r}, so it is not a PNG, JPEG, GIF or WebP "
                "image; convert it, or give `data` with its `media_type`"
            )
        return ImagePart(data=data, media_type=media_type)

    @property
    def address(self) -> str:
        """The `url`, or the bytes as a `data:` URL."""
        return self.url or f"data:{self.media_type};base64,{b64encode(self.data).decode()}"


Part = TextPart | ImagePart
Content = str | tuple[Part, ...]
"""Of a message: plain text, or parts in their order."""


def text_of(content: Content) -> str:
    """Return the text of a content; parts that are not text are left out."""
    if isinstance(content, str):
        return content
    return "".join(part.text for part in content if isinstance(part, TextPart))


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool that the model asks to run.

    Attributes:
        id: the provider's id, sent back unchanged with the result (some providers hide state in
        it).
        name: of the tool.
        arguments: JSON text as the model wrote it; it may be invalid JSON.
    """

    id: str
    name: str
    arguments: str = "{}"


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation; `tool_call_id` and `name` belong to role `tool`.

    Attributes:
        content: text, or parts. Models answer with text.
    """

    role: Role
    content: Content = ""
    name: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """The text of the message, without its images."""
        return text_of(self.content)

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images of the message, in their order."""
        if isinstance(self.content, str):
            return ()
        return tuple(part for part in self.content if isinstance(part, ImagePart))
