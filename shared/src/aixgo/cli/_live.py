"""What is known of a run while it happens: a tree of its steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from aixgo.calls.history import Happened
from aixgo.envelope import NO_USAGE, Failure, Usage
from aixgo.models.bus import GATEWAY
from aixgo.runs.watch import RunEvent, StepFinished, StepStarted, TokensArrived, ToolAsked


@dataclass(slots=True)
class LiveStep:
    """One agent at work, with the text that its model writes."""

    path: str
    agent: str
    began: float = field(default_factory=time.monotonic)
    status: str = "running"
    text: str = ""
    text_of: str = ""
    """Path of the model call that writes the text."""
    seconds: float = 0.0
    usage: Usage = NO_USAGE
    meta: dict[str, object] = field(default_factory=dict)
    error: Failure | None = None
    models: int = 0
    """Model calls that it waits for."""
    uses: list[ToolAsked] = field(default_factory=list)
    """Tools that its model has asked for and that have no result yet."""
    questions: dict[str, str] = field(default_factory=dict)
    """What it asks people: step of the question → the question in one line."""
    children: list[LiveStep] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """Whether its result is not there yet."""
        return self.status == "running"

    def lasted(self) -> float:
        """Return the seconds that it took, up to now if it runs."""
        return time.monotonic() - self.began if self.running else self.seconds


class LiveSteps:
    """The steps of a run by their paths; model calls are part of the agent that makes them."""

    def __init__(self, agent: str) -> None:
        self.root = LiveStep("", agent)
        self._known = {"": self.root}
        self.heard_model = False
        """Whether a model has given anything yet."""

    def waiting(self) -> LiveStep:
        """Return the step that the run waits for: the last one that runs, as deep as is known."""
        step = self.root
        while running := [one for one in step.children if one.running]:
            step = running[-1]
        return step

    def ask(self, path: str, question: str) -> None:
        """Take a question that a step asks, or that has its answer when it is empty."""
        step = self._above(path)
        if question:
            step.questions[path] = question
        else:
            step.questions.pop(path, None)

    def apply(self, event: RunEvent) -> LiveStep | None:
        """Take an event; returns the agent's step that it changed, or None."""
        match event:
            case StepStarted(agent=agent) if agent == GATEWAY:
                step = self._above(event.step)
                step.models += 1
                step.uses.clear()  # it is asked again when it knows what came of them
                return step
            case StepStarted(step=path):
                return self._started(path, event.agent)
            case StepFinished(agent=agent) if agent == GATEWAY and event.step:
                self.heard_model = True
                step = self._above(event.step)
                step.models = max(0, step.models - 1)
                return step
            case StepFinished(meta={"tool": str() as name}):
                return self._used(event.step, name)
            case StepFinished():
                return self._finished(event)
            case TokensArrived():
                self.heard_model = True
                step = self._above(event.step)
                anew = event.again or step.text_of != event.step
                step.text, step.text_of = "" if anew else step.text, event.step
                step.text += event.text
                return step
            case ToolAsked():
                step = self._above(event.step)
                step.uses.append(event)
                return step
            case Happened():
                return None  # `aixgo runs tail` tells it

    def _started(self, path: str, agent: str) -> LiveStep | None:
        if path in self._known:
            return None
        step = self._known[path] = LiveStep(path, agent)
        self._above(path).children.append(step)
        return step

    def _finished(self, event: StepFinished) -> LiveStep | None:
        self.ask(event.step, "")
        step = self._known.get(event.step)
        if step is None or not step.running:
            return None  # a recorded value, or a result that is told twice
        step.seconds = time.monotonic() - step.began
        step.status, step.usage, step.error = event.status, event.usage, event.error
        step.meta = event.meta
        return step

    def _used(self, path: str, tool: str) -> LiveStep:
        """Take the end of a tool's use; its name may be another one than the model knows."""
        self.ask(path, "")
        step = self._above(path)
        names = [one.tool for one in step.uses]
        if names:
            step.uses.pop(names.index(tool) if tool in names else 0)
        return step

    def _above(self, path: str) -> LiveStep:
        """Return the step that a path belongs to: the nearest one whose path it begins with."""
        while path:
            path = path.rpartition("/")[0]
            if path in self._known:
                return self._known[path]
        return self.root
