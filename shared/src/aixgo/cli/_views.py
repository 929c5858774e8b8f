"""How a run looks while it happens: a live tree on a terminal, plain lines or JSON elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from aixgo.cli._inputs import Input
from aixgo.cli._steps import Step, Steps
from aixgo.cli._texts import Outcome, clean, one_line, tokens, write, write_json
from aixgo.config.durations import format_duration
from aixgo.runs.watch import RunEvent, StepFinished, StepStarted, TokensArrived

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text
    from rich.tree import Tree

REFRESHES_PER_SECOND = 12
"""Fluent for an eye, and next to nothing for a processor."""


class View(Protocol):
    """Shows one message after the other."""

    def begin(self, message: Input, agent: str) -> None:
        """A message is about to be sent."""
        ...

    def event(self, event: RunEvent) -> None:
        """Something happened in its run."""
        ...

    def hint(self, text: str) -> None:
        """Say why nothing is to be seen."""
        ...

    def end(self, outcome: Outcome) -> None:
        """The message has its outcome, or its run was given up."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class JsonView:
    """One JSON object per result, and nothing else."""

    def begin(self, message: Input, agent: str) -> None:
        """Show nothing."""

    def event(self, event: RunEvent) -> None:
        """Show nothing."""

    def hint(self, text: str) -> None:
        """Show nothing."""

    def end(self, outcome: Outcome) -> None:
        """Write the result."""
        write_json(outcome.as_json())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class PlainView:
    """Lines as they come; the text of a model in its own line, piece by piece."""

    def __init__(self) -> None:
        self._steps = Steps("")
        self._open: Step | None = None
        self._written = ""

    def begin(self, message: Input, agent: str) -> None:
        """Write the message."""
        self._steps, self._written = Steps(agent), ""
        write(f"── {clean(message.name)}: {one_line(message.text)}")

    def event(self, event: RunEvent) -> None:
        """Write what is new."""
        step = self._steps.apply(event)
        if step is None:
            return
        match event:
            case StepStarted(agent=agent, caller=caller, step=path) if step.path == path and path:
                self._line(f"   {caller} → {agent}")
            case TokensArrived(text=text, again=again):
                self._write_piece(step, text, anew=again)
                self._written = step.text
            case StepFinished(step=path) if step.path == path and path:
                self._line(f"   {step.agent}: {said(step)}")
            case _:
                pass

    def hint(self, text: str) -> None:
        """Write why nothing is to be seen."""
        self._line(f"   {text}")

    def end(self, outcome: Outcome) -> None:
        """Write the answer, unless it is what was written last, and the summary."""
        self._close()
        if outcome.answer is not None and outcome.answer.text.strip() != self._written.strip():
            write(_indented(clean(outcome.answer.text).strip()))
        if outcome.error is not None:
            write(_indented(f"failed: {clean(str(outcome.error))}"))
        write(f"   {outcome.summary()}")

    def _write_piece(self, step: Step, text: str, *, anew: bool) -> None:
        if self._open is not step or anew:
            self._close()
            write(f"   {step.agent} ┆ ", end="")
            self._open = step
        write(clean(text).replace("\n", " "), end="")

    def _line(self, text: str) -> None:
        self._close()
        write(text)

    def _close(self) -> None:
        if self._open is not None:
            write()
            self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


class LiveView:
    """A tree that changes in place; what stays is the message, its answer and its summary."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._steps = Steps("")
        self._message = Input("", "")
        self._hint = ""
        self._live: Live | None = None

    def begin(self, message: Input, agent: str) -> None:
        """Show the tree."""
        from rich.live import Live

        self._steps, self._message, self._hint = Steps(agent), message, ""
        self._live = Live(
            console=self._console,
            get_renderable=self._tree,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )
        self._live.start()

    def event(self, event: RunEvent) -> None:
        """Take what is new; the next refresh shows it."""
        self._steps.apply(event)
        if self._steps.heard_model:
            self._hint = ""

    def hint(self, text: str) -> None:
        """Show why nothing is to be seen."""
        self._hint = text

    def end(self, outcome: Outcome) -> None:
        """Replace the tree by what stays."""
        from rich.padding import Padding
        from rich.text import Text

        self._stop()
        self._console.print(self._tree())
        if outcome.answer is not None:
            answer = Text(clean(outcome.answer.text).strip(), style="bold")
            self._console.print(Padding(answer, (0, 0, 0, 3)))
        if outcome.error is not None:
            failure = Text(clean(str(outcome.error)), style="red")
            self._console.print(Padding(failure, (0, 0, 0, 3)))
        self._console.print(Padding(Text(outcome.summary(), style="dim"), (0, 0, 1, 3)))

    def _tree(self) -> Tree:
        from rich.text import Text
        from rich.tree import Tree

        title = Text.assemble(
            (clean(self._message.name), "bold cyan"), " ", one_line(self._message.text)
        )
        tree = Tree(title, guide_style="dim")
        self._add(tree, self._steps.root)
        if self._hint:
            tree.add(Text(self._hint, style="italic dim"))
        return tree

    def _add(self, tree: Tree, step: Step) -> None:
        branch = tree.add(self._label(step))
        for child in step.children:
            self._add(branch, child)

    def _label(self, step: Step) -> Text:
        from rich.text import Text

        mark, style = _MARKS.get(step.status, ("✗", "red"))
        label = Text.assemble((f"{mark} ", style), (step.agent, "bold"), " ")
        if not step.running:
            label.append(said(step), "red" if step.error else "dim")
        elif step.text:
            label.append(clean(step.text).strip()[-400:])
        else:
            waiting = "asks the model… " if step.models else ""
            label.append(f"{waiting}{format_duration(step.lasted())}", "dim")
        return label

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()


_MARKS = {"running": ("◌", "yellow"), "done": ("●", "green")}


def said(step: Step) -> str:
    """Return in a few words how a finished step ended."""
    if step.error is not None:
        return one_line(f"{step.status}: {step.error.message}", 200)
    parts = []
    if category := step.meta.get("category"):
        parts.append(str(category))
    confidence = step.meta.get("confidence")
    if isinstance(confidence, int | float):
        parts.append(f"confidence {confidence:.2f}")
    if step.usage.total_tokens:
        parts.append(tokens(step.usage))
    parts.append(format_duration(step.seconds))
    return clean(" · ".join(parts))


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines() or [""])


def choose(*, json: bool, terminal: bool) -> View:
    """Return the view for this output."""
    if json:
        return JsonView()
    return LiveView() if terminal else PlainView()
