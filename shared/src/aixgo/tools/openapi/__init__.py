"""The kind `openapi`: the operations of an OpenAPI document as tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, SecretStr

from aixgo.config.tools import Effect
from aixgo.errors import ConfigError
from aixgo.tools.kinds import ToolKind, Workshop, WrongKey
from aixgo.tools.net.options import NetOptions, guard_of, headers_of, tool_name
from aixgo.tools.openapi.reading import MAX_DOCUMENT_BYTES, read

if TYPE_CHECKING:
    from aixgo.tools.openapi.source import FileSource, UrlSource

__all__ = ["OpenApiKind", "OpenApiOptions"]


class OpenApiOptions(NetOptions):
    """The operations of an OpenAPI 3.0 or 3.1 document, each a tool `<name>:<operationId>`."""

    type: Literal["openapi"]
    """Kind of the tool."""
    document: str = Field(min_length=1, max_length=8_000, repr=False)
    """File, beside the document that names it, or URL; JSON or YAML, at most 10 MiB."""
    operations: tuple[str, ...] | None = None
    """The operations that become tools, by `operationId`; all that can without it."""
    server: str = ""
    """Base URL, instead of the one that the document names first."""
    query: dict[str, SecretStr] = Field(default={})
    """Sent in the query of every request, such as a key."""
    effects: dict[str, Effect] = Field(default={})
    """What a second execution does, by `operationId`, instead of what the method says."""
    follow: Literal["same_origin", "never"] = "same_origin"
    """Which redirects are followed; never one that leads to another scheme, host or port."""
    idempotency_header: str = "Idempotency-Key"
    """Header that gets the key of the step, unless the tool only reads; empty for none."""


class OpenApiKind(ToolKind):
    """Builds the tools of a document."""

    options_model = OpenApiOptions

    @classmethod
    def build(cls, options: OpenApiOptions, workshop: Workshop) -> FileSource | UrlSource:
        """See `ToolKind.build`; a file is read here, a URL when the source is opened."""
        from aixgo.tools.net.exchange import normal_origin
        from aixgo.tools.openapi.source import FileSource, Maker, Settings, UrlSource

        name = tool_name(options)
        what = f"openapi {name!r}"
        if options.description:
            raise WrongKey("description", "each operation has its own; leave `description` out")
        key = options.idempotency_header.strip()
        own = {key.lower(): "; another name for it is `idempotency_header`"} if key else {}
        try:
            if options.server:
                normal_origin(options.server.partition("?")[0], what)
        except ConfigError as error:
            raise WrongKey("server", str(error)) from error
        settings = Settings(
            options=options,
            name=name,
            guard=guard_of(options, what),
            headers=headers_of(options, what, own),
        )
        if options.document.lower().startswith(("http://", "https://")):
            return UrlSource(settings, options.document.strip())
        if "://" in options.document:
            raise WrongKey("document", "needs the path of a file, or an http:// or https:// URL")
        file = Path(workshop.directory or ".") / options.document
        try:
            with file.open("rb") as opened:
                data = opened.read(MAX_DOCUMENT_BYTES + 1)
        except OSError as error:
            raise WrongKey(
                "document",
                f"cannot read {options.document!r:.200}: {error.strerror}; it is looked for beside "
                "the document that names it",
            ) from error
        maker = Maker(settings, f"{what} ({file.name})")
        try:
            return FileSource(name, maker, maker.tools(read(data, maker.what)))
        except WrongKey:
            raise
        except ConfigError as error:
            raise WrongKey("document", str(error)) from error
