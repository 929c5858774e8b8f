"""How a run looks while it happens: plain lines, or JSON; the live tree is in `_live_view`."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from aixgo.cli._inputs import Input
from aixgo.cli._live import LiveStep, LiveSteps
from aixgo.cli._step_texts import ended, tool_ended, used_tool
from aixgo.cli._terminal import note, one_line, write, write_json
from aixgo.cli._texts import Outcome
from aixgo.runs.watch import RunEvent, StepFinished, StepStarted, TokensArrived, ToolAsked


class View(Protocol):
    """Shows one message after the other."""

    def begin(self, message: Input, steps: LiveSteps) -> None:
        """A message is about to be sent; `steps` is kept up to date."""
        ...

    def event(self, event: RunEvent, step: LiveStep | None) -> None:
        """Something happened in its run, and changed an agent's step or none."""
        ...

    def hint(self, text: str) -> None:
        """Say why nothing is to be seen."""
        ...

    def ask(self, lines: Sequence[str], prompt: str = "") -> None:
        """Show what a person should read now; after a prompt something is typed."""
        ...

    def go_on(self) -> None:
        """Nothing more is typed."""
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
    """One JSON object per result on stdout, and nothing else; questions are for people's eyes."""

    def begin(self, message: Input, steps: LiveSteps) -> None:
        """Show nothing."""

    def event(self, event: RunEvent, step: LiveStep | None) -> None:
        """Show nothing."""

    def hint(self, text: str) -> None:
        """Show nothing."""

    def ask(self, lines: Sequence[str], prompt: str = "") -> None:
        """Write to stderr."""
        for line in (*lines, *([prompt] if prompt else [])):
            note(line)

    def go_on(self) -> None:
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
        self._open: LiveStep | None = None
        self._written = ""

    def begin(self, message: Input, steps: LiveSteps) -> None:
        """Write the message."""
        self._written = ""
        write(f"── {message.name}: {one_line(message.shown)}")

    def event(self, event: RunEvent, step: LiveStep | None) -> None:
        """Write what is new."""
        if step is None:
            return
        match event:
            case StepStarted(agent=agent, caller=caller, step=path) if step.path == path and path:
                self._line(f"   {caller} → {agent}")
            case TokensArrived(text=text, again=again):
                self._write_piece(step, text, again=again, anew=step.text == text)
                self._written = step.text
            case ToolAsked():
                self._line(f"   {step.agent} uses {used_tool(event)}")
            case StepFinished(meta={"tool": str() as name}):
                self._line(f"   {name}: {tool_ended(event)}")
            case StepFinished(step=path) if step.path == path and path:
                self._line(f"   {step.agent}: {ended(step)}")
            case _:
                pass

    def hint(self, text: str) -> None:
        """Write why nothing is to be seen."""
        self._line(f"   {text}")

    def ask(self, lines: Sequence[str], prompt: str = "") -> None:
        """Write the lines, and the prompt without its end."""
        for line in lines:
            self._line(f"   {line}")
        if prompt:
            write(f"   {prompt}", end="")

    def go_on(self) -> None:
        """Write nothing: the line was ended by what was typed."""

    def end(self, outcome: Outcome) -> None:
        """Write the answer, unless it is what was written last, and the summary."""
        self._close()
        if outcome.answer is not None and outcome.answer.text.strip() != self._written.strip():
            write(_indented(outcome.answer.text.strip()))
        if outcome.error is not None:
            write(_indented(f"failed: {outcome.error}"))
        write(f"   {outcome.summary()}")

    def _write_piece(self, step: LiveStep, text: str, *, again: bool, anew: bool) -> None:
        """Write a piece of a model's text, in a new line when it begins, or begins again."""
        if self._open is not step or anew or again:
            self._close()
            write(f"   {step.agent} ┆ {'(again) ' * again}", end="")
            self._open = step
        write(text.replace("\n", " "), end="")

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


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.splitlines() or [""])


def choose(*, json: bool, terminal: bool) -> View:
    """Return the view for this output."""
    if json:
        return JsonView()
    if terminal:
        from aixgo.cli._live_view import LiveView

        return LiveView()
    return PlainView()
