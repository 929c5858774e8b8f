"""The operations of an OpenAPI document: what they take, and the request of each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from aixgo.errors import ConfigError
from aixgo.tools.kinds import WrongKey
from aixgo.tools.net.exchange import Call, normal_origin
from aixgo.tools.net.templates import PathTemplate, Place, Template, escaped, text_of
from aixgo.tools.openapi.schemas import References, Schemas
from aixgo.tools.openapi.values import Parameter, form_pairs
from aixgo.tools.port import Arguments

METHODS = ("get", "head", "options", "put", "delete", "post", "patch")

_EXPLODED = frozenset({"form", "deepObject"})
_IGNORED_HEADERS = frozenset({"accept", "content-type", "authorization"})
"""Of parameters; OpenAPI says them in other places."""

_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_DESCRIBED_CHARS = 1_000


@dataclass(frozen=True)
class Found:
    """An operation as the document has it.

    Attributes:
        path, item: where it is.
        method: in small letters.
        given: the operation object.
    """

    path: str
    item: Mapping[str, Any]
    method: str
    given: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The `operationId`; empty without one."""
        found = self.given.get("operationId")
        return found if isinstance(found, str) else ""

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"


class Api:
    """The operations of one document.

    Args:
        what: the document is, in errors.
        where: URL of the document, to which its servers may be relative; empty for a file.

    Raises:
        ConfigError: it is not a document of OpenAPI 3.0 or 3.1.
    """

    def __init__(self, root: Mapping[str, Any], what: str, where: str = "") -> None:
        version = str(root.get("openapi", ""))
        if not re.match(r"3\.[012](\.|$)", version):
            has = f"is OpenAPI {version}" if version else "has no `openapi:` with a version"
            if "swagger" in root:
                has = f"is Swagger {root['swagger']}"
            raise ConfigError(f"{what} {has}; convert it to OpenAPI 3.0 or 3.1")
        self._root, self.what, self._where = root, what, where
        self.references = References(root, what)
        self.old = version.startswith("3.0")

    def operations(self) -> Iterator[Found]:
        """Yield every operation."""
        paths = self._root.get("paths") or {}
        if not isinstance(paths, Mapping):
            raise ConfigError(f"{self.what}: `paths` is not an object")
        for path, given in paths.items():
            item = self.references.resolve(given, path)
            for method in METHODS:
                if isinstance(operation := item.get(method), Mapping):
                    yield Found(str(path), item, method, operation)

    def server(self, found: Found) -> str:
        """Return the base URL of an operation, as the document says it.

        Raises:
            WrongKey: it says none, or one that is not complete.
        """
        for place in (found.given, found.item, self._root):
            servers = place.get("servers")
            if isinstance(servers, list) and servers:
                server = self.references.resolve(servers[0], "servers")
                break
        else:
            server = {"url": "/"}
        url = str(server.get("url", ""))
        variables = server.get("variables") or {}
        for name in re.findall(r"\{([^{}]+)\}", url):
            default = variables.get(name, {}).get("default") if variables else None
            if default is None:
                raise WrongKey(
                    "server",
                    f"{self.what}: the server {url!r:.200} needs a value of {name!r}; say the "
                    "whole URL with `server:`",
                )
            url = url.replace(f"{{{name}}}", str(default))
        url = urljoin(self._where, url)
        if urlsplit(url).scheme not in ("http", "https"):
            raise WrongKey(
                "server",
                f"{self.what} names no server with a whole URL; say it with `server:`, such as "
                "https://api.example.com/v1",
            )
        return url


class Operation:
    """The request of one operation (`Requests`), and the schema of its arguments.

    Args:
        base: URL of the server.
        headers: sent with each request.
        query: the same, in the query.

    Attributes:
        schema: JSON Schema of the arguments.

    Raises:
        ConfigError: something in it is not supported; names the operation.
    """

    def __init__(
        self,
        api: Api,
        found: Found,
        base: str,
        *,
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> None:
        self._api, self._found = api, found
        self.what = f"{api.what}: operation {found.id!r}"
        self.method = found.method.upper()
        self._headers, self._fixed = headers, query
        self._schemas = Schemas(api.references, old=api.old)
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._parameters = [*self._read_parameters()]
        self._body, self._media_type = self._read_body()
        parts = urlsplit(base)
        self.origin = normal_origin(f"{parts.scheme}://{parts.netloc}", self.what)
        self._path = self._path_of(parts.path.rstrip("/") + found.path)
        self.schema: dict[str, Any] = {
            "type": "object",
            "properties": self._properties,
            "required": self._required,
            "additionalProperties": False,
        }
        if self._schemas.definitions:
            self.schema["$defs"] = self._schemas.definitions

    @property
    def description(self) -> str:
        """What the document says of it."""
        given = self._found.given
        text = str(given.get("description") or given.get("summary") or self._found)
        return " ".join(text.split())[:_DESCRIBED_CHARS]

    def call(self, arguments: Arguments) -> Call:
        """See `Requests.call`."""
        texts, pairs = {}, [f"{escaped(k)}={escaped(v)}" for k, v in self._fixed.items()]
        headers = {"Accept": "application/json, */*;q=0.5", "User-Agent": "aixgo"}
        for parameter in self._parameters:
            value = arguments.get(parameter.argument)
            if value is None:
                continue
            if parameter.place == "path":
                texts[parameter.argument] = parameter.text(value)
            elif parameter.place == "query":
                pairs += parameter.pairs(value)
            else:
                headers[parameter.name] = parameter.header(value, self.what)
        body = self._encoded(arguments)
        if body is not None:
            headers["Content-Type"] = self._media_type
        own = {name.lower() for name in self._headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in own}
        query = "&".join(pairs)
        return Call(
            method=self.method,
            url=f"{self.origin}{self._path.fill(texts)}{'?' if query else ''}{query}",
            headers={**headers, **self._headers},
            body=body,
        )

    def _encoded(self, arguments: Arguments) -> bytes | None:
        if not self._body or self._body not in arguments:
            return None
        value = arguments[self._body]
        if self._media_type == _FORM and isinstance(value, Mapping):
            return "&".join(form_pairs(value)).encode()
        if self._media_type.startswith("text/"):
            return text_of(value).encode()
        return msgspec.json.encode(value)

    # -- what the document says ------------------------------------------------------------------

    def _read_parameters(self) -> Iterator[Parameter]:
        both: dict[tuple[str, str], Mapping[str, Any]] = {}
        for level in (self._found.item, self._found.given):
            for listed in level.get("parameters") or ():
                one = self._api.references.resolve(listed, str(self._found))
                both[str(one.get("in")), str(one.get("name"))] = one
        for (place, name), given in both.items():
            required = given.get("required") is True
            if place == "header" and name.lower() in _IGNORED_HEADERS:
                continue
            if place not in ("path", "query", "header"):
                if not required:
                    continue
                raise ConfigError(
                    f"{self.what}: parameter {name!r} is sent in a {place}, which is not "
                    "supported; send it with `headers:`, or choose other `operations`"
                )
            yield self._parameter(place, name, given, required=required or place == "path")

    def _parameter(
        self, place: str, name: str, given: Mapping[str, Any], *, required: bool
    ) -> Parameter:
        content = given.get("content")
        schema = given.get("schema", {})
        if isinstance(content, Mapping) and content:
            schema = next(iter(content.values())).get("schema", {})
        style = str(given.get("style") or ("form" if place == "query" else "simple"))
        explode = given.get("explode")
        parameter = Parameter(
            argument=self._argument(name, place),
            name=name,
            place=place,
            style=style,
            explode=style in _EXPLODED if explode is None else explode is True,
            as_json=bool(content),
        )
        parameter.check(self.what)
        self._take(parameter.argument, schema, given.get("description"), required=required)
        return parameter

    def _argument(self, name: str, place: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] or "_"
        for wanted in (plain, f"{place}_{plain}"):
            if wanted not in self._properties:
                return wanted
        raise ConfigError(
            f"{self.what}: two parameters are named {name!r}; choose other operations"
        )

    def _take(self, argument: str, schema: Any, described: Any, *, required: bool) -> None:
        converted = self._schemas.convert(schema, f"{self._found}: {argument}")
        if described and isinstance(converted, dict) and "description" not in converted:
            converted = {**converted, "description": str(described)[:_DESCRIBED_CHARS]}
        self._properties[argument] = converted
        if required:
            self._required.append(argument)

    def _read_body(self) -> tuple[str, str]:
        """Return the argument and the media type of the body; two empty texts without one."""
        if "requestBody" not in self._found.given:
            return "", ""
        body = self._api.references.resolve(
            self._found.given["requestBody"], f"{self._found}: requestBody"
        )
        content = body.get("content")
        kinds = {str(name): one for name, one in (content or {}).items()}
        chosen = min((name for name in kinds if _rank(name) < _NONE), key=_rank, default="")
        if not chosen:
            raise ConfigError(
                f"{self.what}: its body is {', '.join(kinds) or 'nothing'}; JSON, a form and text "
                "are supported"
            )
        argument = self._argument("body", "request")
        schema = kinds[chosen].get("schema", {}) if isinstance(kinds[chosen], Mapping) else {}
        required = body.get("required") is True
        self._take(argument, schema, body.get("description"), required=required)
        return argument, _JSON if "*" in chosen else chosen

    def _path_of(self, path: str) -> PathTemplate:
        arguments = {p.name: p.argument for p in self._parameters if p.place == "path"}
        segments = []
        for segment in path.removeprefix("/").split("/"):
            parts: list[str | Place] = []
            for index, piece in enumerate(re.split(r"\{([^{}]*)\}", segment)):
                if index % 2 == 0:
                    parts.append(piece)
                elif piece in arguments:
                    parts.append(Place(arguments[piece]))
                else:
                    raise ConfigError(
                        f"{self.what}: its path has {{{piece}}}, which is not one of its parameters"
                    )
            segments.append(Template(tuple(part for part in parts if part != "")))
        return PathTemplate(segments, self.what)


_NONE = 4


def _rank(media_type: str) -> int:
    """Return how well a body of that type can be sent: 0 is best, 4 not at all."""
    name = media_type.partition(";")[0].strip().lower()
    if name == _JSON:
        return 0
    if name.endswith("+json") or name in ("*/*", "application/*"):
        return 1
    return 2 if name == _FORM else 3 if name == "text/plain" else _NONE
