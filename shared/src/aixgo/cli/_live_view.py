"""The view of a terminal: a tree that changes in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from aixgo.cli._inputs import Input
from aixgo.cli._live import LiveStep, LiveSteps
from aixgo.cli._step_texts import ended, used_tool
from aixgo.cli._terminal import one_line, styled
from aixgo.cli._texts import Outcome
from aixgo.config.durations import format_duration
from aixgo.runs.watch import RunEvent

REFRESHES_PER_SECOND = 12
"""Fluent for an eye, and next to nothing for a processor."""

TEXT_CHARS = 400
"""Of the end of a model's text; the whole answer follows."""

_MARKS = {"running": ("◌", "yellow"), "done": ("●", "green")}


class LiveView:
    """A tree that changes in place; what stays is the message, its answer and its summary."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._steps = LiveSteps("")
        self._message = Input("", "")
        self._hint = ""
        self._live: Live | None = None

    def begin(self, message: Input, steps: LiveSteps) -> None:
        """Show the tree."""
        self._steps, self._message, self._hint = steps, message, ""
        self._start()

    def event(self, event: RunEvent, step: LiveStep | None) -> None:
        """Take what is new; the next refresh shows it."""
        if self._steps.heard_model:
            self._hint = ""

    def hint(self, text: str) -> None:
        """Show why nothing is to be seen."""
        self._hint = text

    def ask(self, lines: Sequence[str], prompt: str = "") -> None:
        """Show the lines instead of the tree: who types needs a screen that stands still."""
        self._stop()
        self._hint = ""
        for line in lines:
            self._console.print(Padding(styled(line, "bold"), (0, 0, 0, 3)))
        if prompt:
            self._console.print(styled(f"   {prompt}"), end="")

    def go_on(self) -> None:
        """Show the tree again."""
        self._start()

    def end(self, outcome: Outcome) -> None:
        """Replace the tree by what stays."""
        self._stop()
        self._console.print(self._tree())
        if outcome.answer is not None:
            answer = styled(outcome.answer.text.strip(), "bold")
            self._console.print(Padding(answer, (0, 0, 0, 3)))
        if outcome.error is not None:
            self._console.print(Padding(styled(str(outcome.error), "red"), (0, 0, 0, 3)))
        self._console.print(Padding(styled(outcome.summary(), "dim"), (0, 0, 1, 3)))

    def _tree(self) -> Tree:
        title = Text.assemble(
            styled(self._message.name, "bold cyan"), " ", one_line(self._message.shown)
        )
        tree = Tree(title, guide_style="dim")
        self._add(tree, self._steps.root)
        if self._hint:
            tree.add(styled(self._hint, "italic dim"))
        return tree

    def _add(self, tree: Tree, step: LiveStep) -> None:
        branch = tree.add(self._label(step))
        for asked in step.uses:
            branch.add(styled(f"uses {used_tool(asked)}", "dim"))
        for question in step.questions.values():
            branch.add(styled(f"asks: {question}", "bold"))
        for child in step.children:
            self._add(branch, child)

    def _label(self, step: LiveStep) -> Text:
        mark, style = _MARKS.get(step.status, ("✗", "red"))
        label = Text.assemble((f"{mark} ", style), styled(step.agent, "bold"), " ")
        if not step.running:
            label.append_text(styled(ended(step), "red" if step.error else "dim"))
        elif step.text:
            label.append_text(styled(step.text.strip()[-TEXT_CHARS:]))
        else:
            waiting = "asks the model… " if step.models else ""
            waiting = "waits for an answer… " if step.questions else waiting
            label.append(f"{waiting}{format_duration(step.lasted())}", "dim")
        return label

    def _start(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._tree,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
            )
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
