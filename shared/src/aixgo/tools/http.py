"""The kind `http`: one request as a tool, with arguments that cannot be anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote_plus

import msgspec
from pydantic import Field, JsonValue

from aixgo.config.suggest import did_you_mean
from aixgo.errors import ConfigError
from aixgo.tools.kinds import ToolKind, Workshop, WrongKey
from aixgo.tools.net.answers import (
    Answers,
    hidden_headers,
    names_secret,
    secret_headers,
    secrets_in,
)
from aixgo.tools.net.http_tool import EFFECT_OF_METHOD, HttpTool
from aixgo.tools.net.options import (
    ParameterOptions,
    always_given,
    arguments_of,
    guard_of,
    headers_of,
    spec_of,
    tool_name,
)
from aixgo.tools.net.templates import (
    ABSENT,
    HeaderTemplate,
    JsonTemplate,
    PathTemplate,
    QueryTemplate,
    Template,
)
from aixgo.tools.port import Arguments
from aixgo.web.headers import header_name
from aixgo.web.secrets import Secrets

if TYPE_CHECKING:
    from aixgo.tools.net.exchange import Call

_URL = re.compile(r"(?i:(https?)://)([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?(#.*)?", re.DOTALL)
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"


class HttpOptions(ParameterOptions):
    """One request over HTTP."""

    type: Literal["http"]
    """Kind of the tool."""
    method: Literal["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"] = "GET"
    """Without `effect` it says what a second execution does: GET, HEAD and OPTIONS `read`, PUT and
    DELETE are `idempotent`, POST and PATCH act `once`."""
    url: str = Field(min_length=1, max_length=8_000, repr=False)
    """Address, with `{parameter}` in its path and query; each value stays in its place."""
    query: dict[str, str | int | float | bool] = Field(default={}, repr=False)
    """Added to the query of the URL; values are texts with `{parameter}` in them."""
    body: JsonValue = Field(default=None, repr=False)
    """Body in JSON. A text that is one `{parameter}` becomes its value, of any type."""
    form: dict[str, str | int | float | bool] | None = Field(default=None, repr=False)
    """Body as an HTML form sends it, instead of JSON."""
    text: str | None = Field(default=None, repr=False)
    """Body as it is, instead of JSON; the values in it are not escaped."""
    result: str = ""
    """JSON path of the value in the answer (RFC 9535), such as `$.now`; without it, all of it."""
    follow: Literal["same_origin", "never"] = "same_origin"
    """Which redirects are followed; never one that leads to another scheme, host or port."""
    idempotency_header: str = "Idempotency-Key"
    """Header that gets the key of the step, unless the tool only reads; empty for none."""


class HttpKind(ToolKind):
    """Builds tools of type `http`."""

    options_model = HttpOptions

    @classmethod
    def build(cls, options: HttpOptions, workshop: Workshop) -> HttpTool:
        """See `ToolKind.build`."""
        from aixgo.tools.net.web import Web

        name = tool_name(options)
        what = f"tool {name!r}"
        arguments = arguments_of(options, name)
        template = RequestTemplate(options, what, always_given(arguments))
        spec = spec_of(options, name, EFFECT_OF_METHOD[options.method], arguments.schema)
        secrets = Secrets(template.secrets)
        try:
            answers = Answers(
                what,
                template.origin,
                result=options.result,
                secrets=secrets,
                hidden=Secrets(hidden_headers(template.constant_headers)),
            )
        except ConfigError as error:
            raise WrongKey("result", str(error)) from error
        web = Web(
            what,
            guard_of(options, what),
            once=spec.effect == "once",
            max_body=options.max_body,
            connect_timeout=options.connect_timeout,
            secrets=secrets,
        )
        return HttpTool(
            spec,
            arguments,
            template,
            answers,
            web,
            key_header=options.idempotency_header.strip(),
            follow=options.follow == "same_origin",
        )


class RequestTemplate:
    """Makes the request of a declaration from arguments (`Requests`).

    Args:
        given: parameters that every execution has a value of.

    Attributes:
        origin: scheme, host and port.

    Raises:
        WrongKey: the declaration is wrong; names the key.
    """

    def __init__(self, options: HttpOptions, what: str, given: set[str]) -> None:
        self._what = what
        self.method = options.method
        self._parameters = options.parameters
        scheme, host, path, query = self._split(options.url)
        from aixgo.tools.net.exchange import normal_origin

        try:
            self.origin = normal_origin(f"{scheme}://{host}", what)
            self._path = PathTemplate.parse(path, f"{what}: url")
            members: list[tuple[str, Template | None]] = [*_query_of(query, f"{what}: url")]
        except ConfigError as error:
            raise WrongKey("url", str(error)) from error
        members += [*self._members("query", options.query)]
        self._query = QueryTemplate(members)
        self._headers = [*self._header_templates(options)]
        self._content_type, self._body = self._body_of(options)
        self._check_names(given, next(iter(_bodies(options)), "body"))
        constants = [(name, _constant(template)) for name, template in members if template]
        constants += [("", segment) for segment in path.split("/") if "{" not in segment]
        constants += [*_texts(options.body), *(options.form or {}).items()]  # type: ignore[list-item]
        self.secrets = [
            *secret_headers(self.constant_headers),
            *secrets_in((name, str(value)) for name, value in constants),
        ]

    @property
    def constant_headers(self) -> list[tuple[str, str]]:
        """Headers that are the same in every request."""
        return [(name, one.constant) for name, one in self._headers if one.constant]

    def call(self, arguments: Arguments) -> Call:
        """See `Requests.call`."""
        from aixgo.tools.net.exchange import Call

        headers = {"Accept": "application/json, */*;q=0.5", "User-Agent": "aixgo"}
        if self._content_type:
            headers["Content-Type"] = self._content_type
        for name, template in self._headers:
            if (value := template.fill(arguments)) is not None:
                headers = {k: v for k, v in headers.items() if k.lower() != name.lower()}
                headers[name] = value
        query = self._query.fill(arguments)
        return Call(
            method=self.method,
            url=f"{self.origin}{self._path.fill(arguments)}{'?' if query else ''}{query}",
            headers=headers,
            body=self._encoded(arguments),
        )

    def _encoded(self, arguments: Arguments) -> bytes | None:
        match self._body:
            case JsonTemplate():
                value = self._body.fill(arguments)
                return None if value is ABSENT else msgspec.json.encode(value)
            case QueryTemplate():
                return self._body.fill(arguments).encode()
            case Template():
                return (self._body.fill(arguments) or "").encode()
        return None

    def _split(self, url: str) -> tuple[str, str, str, str]:
        match = _URL.fullmatch(url.strip())
        if match is None:
            raise WrongKey(
                "url", "needs http:// or https:// and a host, such as https://api.example.com/now"
            )
        scheme, host, path, query, fragment = match.groups()
        if "{" in host or "}" in host:
            raise WrongKey(
                "url", "the host has a place in braces; arguments never choose where a request goes"
            )
        if fragment:
            raise WrongKey("url", "what follows '#' is never sent; leave it out")
        return scheme.lower(), host, path or "/", query or ""

    def _members(self, key: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Template]]:
        for name, value in given.items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            try:
                yield name, Template.parse(text, f"{self._what}: {key}.{name}")
            except ConfigError as error:
                raise WrongKey(key, str(error)) from error

    def _header_templates(self, options: HttpOptions) -> Iterator[tuple[str, HeaderTemplate]]:
        key = options.idempotency_header.strip()
        own = {key.lower(): "; another name for it is `idempotency_header`"} if key else {}
        try:
            if key:
                header_name(key, f"{self._what}: {key!r:.80}")
        except ConfigError as error:
            raise WrongKey("idempotency_header", str(error)) from error
        for name, value in headers_of(options, self._what, own).items():
            try:
                yield (
                    name,
                    HeaderTemplate(
                        name, value, options.parameters, self._what, secret=names_secret(name)
                    ),
                )
            except ConfigError as error:
                raise WrongKey("headers", str(error)) from error

    def _body_of(
        self, options: HttpOptions
    ) -> tuple[str, JsonTemplate | QueryTemplate | Template | None]:
        given = _bodies(options)
        if not given:
            return "", None
        if len(given) > 1:
            raise WrongKey(given[1], f"a request has one body; keep {given[0]!r} or {given[1]!r}")
        if options.method in _BODILESS:
            raise WrongKey(
                given[0], f"a {options.method} request has no body; use `query`, or another method"
            )
        if options.form is not None:
            return _FORM, QueryTemplate(self._members("form", options.form))
        try:
            if options.text is not None:
                template = Template.parse(options.text, f"{self._what}: text")
                return "text/plain; charset=utf-8", template
            return _JSON, JsonTemplate(options.body, f"{self._what}: body")
        except ConfigError as error:
            raise WrongKey(given[0], str(error)) from error

    def _check_names(self, given: set[str], body_key: str) -> None:
        """Refuse a place without a parameter, and a parameter without a place."""
        body = self._body.names if self._body is not None else ()
        places = {
            "url": self._path.names,
            "query": self._query.names,
            "headers": [name for _, template in self._headers for name in template.names],
            body_key: tuple(body),
        }
        for key, names in places.items():
            for name in names:
                if name not in self._parameters:
                    near = did_you_mean(name, self._parameters) or "; declare it in `parameters`"
                    raise WrongKey(key, f"{{{name}}} is not a parameter of the tool{near}")
        needed = [("url", "the path", name) for name in self._path.names]
        if isinstance(self._body, Template):
            needed += [(body_key, "a text", name) for name in self._body.names]
        for key, whole, name in needed:
            if name not in given:
                raise WrongKey(
                    key,
                    f"{{{name}}} is part of {whole}, so it must always be there; add it to "
                    "`required`, or give it a `default`",
                )
        used = {name for names in places.values() for name in names}
        for name in self._parameters:
            if name not in used:
                raise WrongKey(
                    "parameters", f"{name!r} goes nowhere; write {{{name}}} where it belongs"
                )


def _bodies(options: HttpOptions) -> list[str]:
    """Return the keys that say what the body is."""
    return [key for key in ("body", "form", "text") if getattr(options, key) is not None]


def _query_of(query: str, what: str) -> Iterator[tuple[str, Template | None]]:
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        if "{" in name or "}" in name:
            raise ConfigError(f"{what}: a name in the query has a place in braces; only values may")
        template = Template.parse(unquote_plus(value), what) if equals else None
        yield unquote_plus(name), template


def _constant(template: Template) -> str:
    return "".join(part for part in template.parts if isinstance(part, str))


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case str() if "{" not in value:
            yield name, value
        case Mapping():
            for key, member in value.items():
                yield from _texts(member, str(key))
        case list() | tuple():
            for item in value:
                yield from _texts(item, name)
