"""Errors and pages are in plain English: the words that readers stumbled over do not come back."""

from __future__ import annotations

import ast
import re
import tokenize
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("shared/src/aixgo/**/*.py"), *ROOT.glob("services/*/src/**/*.py")])
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "services/*/README.md",
        "deploy/*.md",
        "examples/*/*.md",
    )
    for page in ROOT.glob(pattern)
)

WORDS = {
    r"\b[Ww]hoever\b": "name who: the caller, the worker, a process that …",
    r"\b([Ss]ome|[Nn]o|[Aa]ny)body\b": "name who: no instance, another process, …",
    r"\b(him|his|he)\b": "it",
    r"(?<!there )\b(is|are|was) no (answer|attempt|category|envelope|number|text|tool|value)\b": (
        "is not a …"
    ),
    r"\bany more\b": "no longer",
    r"\bmend the one or the other\b": "change … or …",
}
"""Expressions that an error or a page does not have, and what to write instead."""


@cache
def error_texts() -> list[tuple[str, str]]:
    """Return every text in a statement that raises, and where it is."""
    texts = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise):
                texts += [
                    (part.value, f"{path.relative_to(ROOT)}:{part.lineno}")
                    for part in ast.walk(node)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
    return texts


@cache
def comments() -> list[tuple[str, str]]:
    """Return every docstring and comment of the sources, and where it is."""
    texts = []
    for path in SOURCES:
        with path.open("rb") as file:
            for token in tokenize.tokenize(file.readline):
                docstring = token.type == tokenize.STRING and token.string.startswith('"""')
                if docstring or token.type == tokenize.COMMENT:
                    texts.append((token.string, f"{path.relative_to(ROOT)}:{token.start[0]}"))
    return texts


def found(text: str) -> list[str]:
    """Return which of the expressions a text has, with what to write instead."""
    return [
        f"{match[0]!r} (better: {better})"
        for pattern, better in WORDS.items()
        if (match := re.search(pattern, text))
    ]


def test_no_error_has_a_word_that_readers_stumble_over() -> None:
    wrong = [f"{where}: {one}" for text, where in error_texts() for one in found(text)]
    assert wrong == []


def test_no_page_has_one_either() -> None:
    wrong = [
        f"{page.relative_to(ROOT)}: {one}"
        for page in PAGES
        if page.name != "python.md"
        for one in found(re.sub(r"^```.*?^```|`[^`]*`", "", page.read_text(), flags=re.M | re.S))
    ]
    assert wrong == []


def test_no_docstring_and_no_comment_has_one_either() -> None:
    wrong = [
        f"{where}: {one}"
        for text, where in comments()
        for one in found(re.sub(r"`[^`]*`", "", text))
    ]
    assert wrong == []


def test_such_a_word_is_found() -> None:
    assert found("nobody answers at nats://x")
    assert found("the payload is no text")
    assert not found("no server answered; there is no answer yet")
    assert len(error_texts()) > 300
    assert len(comments()) > 3_000
