"""The public surface of Aixgo, and its reference, which is made from the docstrings.

The sources are read and not imported, so the page is the same on every Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = {
    "aixgo": ROOT / "shared/src",
    "aixgo_services.orchestrator": ROOT / "services/orchestrator/src",
}


@dataclass(frozen=True)
class Part:
    """Public names of one module.

    Attributes:
        module: from which they are imported.
        about: what they are for.
        names: those that are public; empty for all of the module's `__all__`.
    """

    module: str
    about: str
    names: tuple[str, ...] = ()


SURFACE = (
    Part("aixgo", "What programs are written with."),
    Part("aixgo.client", "What `Client` and `System` return.", ("Question",)),
    Part("aixgo.steps.model_steps", "What `ctx.model` is.", ("ModelSteps",)),
    Part("aixgo.errors", "Every error; see the tree at the top of the module."),
    Part("aixgo.hooks", "For authors of hooks."),
    Part("aixgo.tools", "For authors of tools and tool kinds."),
    Part("aixgo.tools.mcp", "Tools of MCP servers, in Python.", ("McpOptions", "McpServer")),
    Part(
        "aixgo.agents.role",
        "For authors of roles.",
        ("Feed", "Heard", "Listening", "Remembered", "find_role", "known_roles"),
    ),
    Part(
        "aixgo.config.agents",
        "For authors of roles and patterns: options, and what every agent declares.",
        ("AgentName", "AgentSpec", "Limits", "Options", "Retry", "SessionSpec"),
    ),
    Part(
        "aixgo.config.durations",
        "For authors of roles and patterns: times in options.",
        ("Duration", "PositiveDuration"),
    ),
    Part("aixgo.config.retention", "How long results are kept.", ("Retention",)),
    Part(
        "aixgo_services.orchestrator.patterns.pattern",
        "For authors of patterns; it is part of the distribution `aixgo-orchestrator`.",
        ("Pattern", "PatternOptions", "payload_of", "used"),
    ),
    Part("aixgo.models", "The model port, its adapters and settings."),
    Part("aixgo.models.providers", "For authors of model providers.", ("Provider", "Quirk")),
    Part("aixgo.models.scripted", "The double for tests.", ("ScriptedModel",)),
    Part("aixgo.documents", "Reading documents."),
    Part(
        "aixgo.hosting.process",
        "For main functions: of services of your own, whatever they serve.",
        ("Service", "Signals", "run", "run_service", "signals"),
    ),
    Part("aixgo.runs", "Looking into runs, and forking them."),
    Part("aixgo.stores.sessions", "What agents remember, and the port of its stores."),
    Part("aixgo.steps.session", "What `ctx.session` is.", ("SessionSteps",)),
    Part("aixgo.steps.memory", "What `ctx.memory` is.", ("MemorySteps", "Recalled")),
    Part("aixgo.steps.state", "What `ctx.state` is.", ("StateSteps",)),
    Part("aixgo.broker", "The broker port, for authors of adapters and tools."),
    Part("aixgo.broker.open", "From an address to a broker.", ("open_broker",)),
    Part("aixgo.subjects", "The names that `subjects.md` lists.", ("Names",)),
    Part("aixgo.envelope", "What travels.", ("Envelope", "Usage", "decode", "encode")),
    Part("aixgo.testing", "For tests of your own agents."),
)
"""What is public: a change of it is a line in the CHANGELOG. Everything else may change any day."""


@dataclass(frozen=True)
class Found:
    """Where a public name is defined."""

    name: str
    module: str
    node: ast.stmt
    doc: str


@cache
def tree(module: str) -> ast.Module:
    """Return a module's source as a tree.

    Raises:
        LookupError: there is no such module.
    """
    for package, folder in SOURCES.items():
        if module == package or module.startswith(package + "."):
            path = folder.joinpath(*module.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.exists():
                    return ast.parse(file.read_text())
    raise LookupError(f"no module {module!r} below {', '.join(map(str, SOURCES.values()))}")


def names_of(part: Part) -> tuple[str, ...]:
    """Return the public names of a part, in their order.

    Raises:
        LookupError: it has no `__all__`, and no names are declared.
    """
    if part.names:
        return part.names
    for node in tree(part.module).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return tuple(sorted(ast.literal_eval(node.value)))
    raise LookupError(f"{part.module} has no __all__; declare the names of the part")


def find(module: str, name: str) -> Found:
    """Return where a name that a module offers is defined; imports are followed.

    Raises:
        LookupError: it is not there.
    """
    package = module
    for _, node, following in statements(tree(module)):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if node.name == name:
                if not any(_name(one) == "overload" for one in node.decorator_list):
                    return Found(name, module, node, ast.get_docstring(node) or "")
            case (
                ast.Assign(targets=[ast.Name(id=target)])
                | ast.AnnAssign(target=ast.Name(id=target))
            ) if target == name:
                return Found(name, module, node, following)
            case ast.ImportFrom(module=source, names=aliases, level=level):
                for alias in aliases:
                    if (alias.asname or alias.name) == name:
                        home = f"{package}.{source}" if level else str(source)
                        return find(home, alias.name)
            case _:
                pass
    raise LookupError(f"{module} does not define {name!r}")


def statements(of: ast.Module | ast.ClassDef) -> Iterator[tuple[int, ast.stmt, str]]:
    """Yield statements with the docstring that follows them; also those only for type checkers."""
    body = list(of.body)
    for node in of.body:
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            body += node.body
    for index, node in enumerate(body):
        match body[index + 1 : index + 2]:
            case [ast.Expr(value=ast.Constant(value=str(text)))]:
                yield index, node, " ".join(text.split())
            case _:
                yield index, node, ""


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += [f"- [`{one.module}`](#{_anchor(one.module)}): {one.about}" for one in SURFACE]
    shown: dict[tuple[str, str], str] = {}
    for part in SURFACE:
        parts.append(f"\n## `{part.module}`\n\n{part.about}\n")
        for name in names_of(part):
            found = find(part.module, name)
            first = shown.setdefault((found.module, found.name), part.module)
            if first != part.module:
                parts.append(f"### `{name}`\n\nSee [`{first}`](#{_anchor(first)}).\n")
            else:
                parts.append(entry(found))
    return "\n".join(parts).rstrip() + "\n"


HEAD = """# Python reference

<!-- generated by docs/generate.py from the docstrings: `make docs` -->

This page is the public surface: the modules and names that you may import. A change to any of them
has a line in the [changelog](../../CHANGELOG.md). Everything else is internal and may change in any
version. The [glossary](../glossary.md) explains the words.
"""


def entry(found: Found) -> str:
    """Return the text about one public name."""
    match found.node:
        case ast.ClassDef() as node:
            return _class(found, node)
        case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
            return f"### `{found.name}`\n\n{_code(_signature(node))}\n\n{prose(found.doc)}\n"
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            shown = _shortened(ast.unparse(value)) if value is not None else "…"
            return f"### `{found.name}`\n\n{_code(f'{found.name} = {shown}')}\n\n{found.doc}\n"
        case _:
            raise LookupError(f"{found.module}.{found.name} is neither a class nor a function")


@cache
def public() -> frozenset[tuple[str, str]]:
    """Return where everything public is defined: module and name."""
    found = (find(part.module, name) for part in SURFACE for name in names_of(part))
    return frozenset((one.module, one.name) for one in found)


def lineage(found: Found) -> Iterator[ast.ClassDef]:
    """Yield a class, and those of its bases that are ours and have no entry of their own."""
    if not isinstance(found.node, ast.ClassDef):
        return
    yield found.node
    for base in found.node.bases:
        try:
            above = find(found.module, ast.unparse(base).partition("[")[0])
        except LookupError:
            continue
        if (above.module, above.name) not in public():
            yield from lineage(above)


def _class(found: Found, node: ast.ClassDef) -> str:
    name = found.name
    bases = [ast.unparse(base) for base in node.bases]
    head = f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    init = next(
        (
            one
            for one in node.body
            if isinstance(one, ast.FunctionDef) and one.name == "__init__" and _is_shown(one)
        ),
        None,
    )
    if init is not None:
        head += f":\n    {_signature(init, bound=True)}"
    text = [f"### `{name}`\n\n{_code(head)}\n\n{prose(ast.get_docstring(node) or '')}\n"]
    rows: dict[str, str] = {}
    for above in lineage(found):
        for member, text_of in _members(above):
            rows.setdefault(member, text_of)
    return "\n".join([*text, *(row + "\n" for row in rows.values())])


def _members(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield each public member of a class: its name, and its text."""
    for _, one, doc in statements(node):
        match one:
            case ast.AnnAssign(target=ast.Name(id=field), annotation=kind, value=value):
                if not field.startswith("_"):
                    default = "" if value is None else f" = {_shortened(ast.unparse(value))}"
                    yield field, f"- `{field}: {ast.unparse(kind)}{default}`  \n  {doc}".rstrip()
            case ast.Assign(targets=[ast.Name(id="code" | "retryable" as field)], value=value):
                yield field, f"- `{field} = {ast.unparse(value)}`"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                if one.name.startswith("_") or not _is_shown(one):
                    continue
                about = prose(ast.get_docstring(one) or "", indent="  ")
                if _is_property(one):
                    head = f"{one.name}: {ast.unparse(one.returns)}" if one.returns else one.name
                else:
                    head = _flat(_signature(one, bound=True))
                yield one.name, f"- `{head}`  \n  {about}".rstrip()
            case _:
                pass


def _is_shown(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = [_name(one) for one in node.decorator_list]
    return not any(name in ("overload", "setter") for name in names)


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_name(one) in ("property", "cached_property") for one in node.decorator_list)


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _name(function)
        case _:
            return ""


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool = False) -> str:
    given = node.args
    if bound and not any(_name(one) == "staticmethod" for one in node.decorator_list):
        positional = [*given.posonlyargs, *given.args]
        kept = positional[1:]
        given = ast.arguments(
            posonlyargs=[],
            args=kept,
            vararg=given.vararg,
            kwonlyargs=given.kwonlyargs,
            kw_defaults=given.kw_defaults,
            kwarg=given.kwarg,
            defaults=given.defaults[-len(kept) :] if kept else [],
        )
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    before = "async def " if isinstance(node, ast.AsyncFunctionDef) else "def "
    if any(_name(one) == "asynccontextmanager" for one in node.decorator_list):
        before = "async with "
    parameters = list(_parameters(given))
    flat = f"{before}{node.name}({', '.join(parameters)}){returns}"
    if len(flat) <= 96:
        return flat
    inner = "".join(f"\n        {one}," for one in parameters)
    return f"{before}{node.name}({inner}\n    ){returns}"


def _parameters(given: ast.arguments) -> Iterator[str]:
    """Yield each parameter as it is written in a signature."""
    positional = [*given.posonlyargs, *given.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    for index, (one, default) in enumerate(
        zip(positional, [*missing, *given.defaults], strict=True), 1
    ):
        yield _parameter(one, default)
        if index == len(given.posonlyargs):
            yield "/"
    if given.vararg:
        yield f"*{_parameter(given.vararg, None)}"
    elif given.kwonlyargs:
        yield "*"
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _parameter(one, default)
    if given.kwarg:
        yield f"**{_parameter(given.kwarg, None)}"


def _parameter(one: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(one.annotation)}" if one.annotation else ""
    if default is None:
        return f"{one.arg}{kind}"
    return (
        f"{one.arg}{kind} = {ast.unparse(default)}" if kind else f"{one.arg}={ast.unparse(default)}"
    )


def _flat(signature: str) -> str:
    """Return a signature in one line, for a list."""
    flat = " ".join(signature.split()).replace("( ", "(").replace(", )", ")")
    return flat.replace("async def ", "async ").removeprefix("def ")


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"


def prose(docstring: str, *, indent: str = "") -> str:
    """Return a docstring of the Google style as Markdown."""
    lines: list[str] = []
    section = False
    for line in docstring.splitlines():
        if re.fullmatch(r"(Args|Raises|Attributes|Returns|Yields):", line):
            lines.append(f"**{line[:-1]}**")
            lines.append("")
            section = True
        elif section and (item := re.match(r" {4}(\*{0,2}[\w, .]+): (.*)", line)):
            lines.append(f"* `{item[1]}`: {item[2]}")
        elif section and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            section = section and not line.strip()
            lines.append(line)
    return f"\n{indent}".join(lines).replace(f"\n{indent}\n", "\n\n").strip()


def _anchor(module: str) -> str:
    return module.replace(".", "")
