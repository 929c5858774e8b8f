"""Every name in back-ticks exists: in docstrings and comments, and paths in the pages."""

from __future__ import annotations

import ast
import builtins
import importlib
import keyword
import pkgutil
import re
from functools import cache
from pathlib import Path

import aixgo

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("shared/src/aixgo/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "services/*/README.md",
        "deploy/*.md",
        "examples/**/*.md",
    )
    for page in ROOT.glob(pattern)
    if "node_modules" not in page.parts
)
PACKAGES = {module.name for module in pkgutil.iter_modules(aixgo.__path__)}

ELSEWHERE = {
    "OTEL_TRACES_SAMPLER": "read by the OpenTelemetry SDK",
    "_TRACES_ENDPOINT": "the end of a variable's name; read by the OpenTelemetry SDK",
    "ThreadPoolExecutor": "of concurrent.futures",
    "grep": "a program",
    "trust_env": "a parameter of aiohttp",
}
"""Names in back-ticks that this repository does not define, and where they come from."""


@cache
def documents_of(path: Path) -> list[ast.Constant]:
    """Return every docstring of a source, also those below an attribute."""
    found = []
    for node in nodes_of(path):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str()) as text):
                    found.append(text)
                case _:
                    pass
    return found


@cache
def defined() -> frozenset[str]:
    """Return every name of the code, and every word of a text that is not documentation."""
    names = {*dir(builtins), *keyword.kwlist, "null", *PACKAGES}
    for path in SOURCES:
        documentation = {id(node) for node in documents_of(path)}
        names.update((path.stem, path.parent.name))
        for node in nodes_of(path):
            match node:
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                    names.add(name)
                case ast.keyword(arg=str(name)) | ast.alias(name=name):
                    names.update(name.split("."))
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    names.add(node.name)
                case ast.Constant(value=str(text)) if id(node) not in documentation:
                    names.update((text, *re.findall(r"\w+", text)))
                case _:
                    pass
    return frozenset(names)


@cache
def in_code(name: str) -> bool:
    """Whether a name of one or several parts is one of ours; modules are looked into."""
    if name.endswith((".py", ".md", ".toml", ".yaml")):
        return (ROOT / name).exists() or any(path.name == name for path in SOURCES)
    if "." in name and name in defined():  # a group of entry points
        return True
    ours = name.startswith("aixgo.")
    parts = name.removesuffix("()").removeprefix("aixgo.").split(".")
    if ours or (len(parts) > 1 and parts[0] in PACKAGES and not parts[1].isdigit()):
        return importable(parts)
    return all(part.isdigit() or part in defined() or len(part) == 1 for part in parts)


def importable(parts: list[str]) -> bool:
    """Whether the parts lead from `aixgo` through its modules to something in them."""
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module("aixgo." + ".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if part in getattr(found, "__annotations__", {}):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def quoted(text: str) -> list[str]:
    """Return the names in back-ticks; what is no name, such as a command, is left out."""
    return re.findall(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)*(?:\(\))?)`(?!`)", text)


@cache
def said() -> list[tuple[str, str]]:
    """Return each name in back-ticks of a docstring or comment, and where it is."""
    found = []
    for path in SOURCES:
        source = path.read_text()
        where = path.relative_to(ROOT)
        texts = [(str(node.value), node.lineno) for node in documents_of(path)]
        texts += [
            (line.partition("# ")[2], number)
            for number, line in enumerate(source.splitlines(), 1)
            if "`" in line
        ]
        found += [(name, f"{where}:{number}") for text, number in texts for name in quoted(text)]
    return found


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Return every node of a source; to find them takes longer than to look at them."""
    return list(ast.walk(ast.parse(path.read_text())))


def test_every_name_in_back_ticks_of_a_docstring_exists() -> None:
    missing = [
        f"{where}: `{name}`"
        for name, where in said()
        if name not in ELSEWHERE and not in_code(name)
    ]
    assert missing == []


def test_names_of_elsewhere_are_used_and_are_not_ours() -> None:
    used = {name for name, _ in said()}
    assert set(ELSEWHERE) <= used
    assert [name for name in ELSEWHERE if in_code(name)] == []


def test_a_name_that_does_not_exist_is_found() -> None:
    for name in ("configure_tracing", "calls.no_such_module", "aixgo.errors.NoSuchError", "no.md"):
        assert quoted(f"see `{name}`") == [name]
        assert not in_code(name)
    for name in ("Context", "calls.settle", "aixgo.errors.StreamFull", "subjects.md"):
        assert in_code(name)


def test_every_path_and_module_that_a_page_names_exists() -> None:
    folders = "shared|services|tests|docs|examples|deploy|benchmarks|requirements"
    missing = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        paths = re.findall(rf"`((?:{folders})/[\w./-]+)`", text)
        missing += [f"{page.name}: {path}" for path in paths if not (ROOT / path).exists()]
        modules = re.findall(r"`aixgo\.([a-z_]\w*(?:\.\w+)*)`", text)
        missing += [
            f"{page.name}: aixgo.{name}" for name in modules if not in_code(f"aixgo.{name}")
        ]
    assert missing == []


def test_every_link_of_a_page_leads_somewhere() -> None:
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text()):
            path, _, anchor = target.partition("#")
            goal = (page.parent / path).resolve() if path else page
            if not goal.exists() or (anchor and anchor not in anchors(goal)):
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page are called in links."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
