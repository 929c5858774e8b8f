"""The questions of a run that is being followed: shown, and answered where that is possible."""

from __future__ import annotations

import asyncio
import sys

from aixgo.cli._first import first_of
from aixgo.cli._question_texts import answer_in, answering, asked_at_length, choices
from aixgo.cli._stdin import StdinLines
from aixgo.cli._terminal import is_terminal
from aixgo.cli._views import View
from aixgo.client import Client, Question
from aixgo.errors import AixgoError, BrokerError, ConfigError, NoQuestion

UNANSWERED = "it asks a person, and stdin, from which the answer is read, has ended"


class Desk:
    """Where the answers to questions come from.

    A system inside of this process is answered on stdin, whatever that is, because it cannot be
    answered elsewhere; others are when a person sits at a terminal.

    Args:
        broker: by which other processes reach the system; empty when none does.
        stdin_is_input: lines of stdin are messages, not answers.
        json: stdout is for programs, so a person reads stderr.
    """

    def __init__(self, broker: str, namespace: str, *, stdin_is_input: bool, json: bool) -> None:
        self.broker, self._namespace = broker, namespace
        shown = sys.stderr.isatty() if json else is_terminal()
        self._person = sys.stdin is not None and sys.stdin.isatty() and shown
        self.prompts = not stdin_is_input and (self._person or not broker)
        self._lines: StdinLines | None = None

    def lines(self) -> StdinLines:
        """Return the lines of stdin from now on: what a person typed before does not count."""
        if self._lines is None:
            self._lines = StdinLines()
        elif self._person:
            self._lines.forget_waiting()
        return self._lines

    def how(self, question: Question) -> str:
        """Say how a question is answered elsewhere."""
        if not self.broker:
            return (
                "it can be answered only here, and stdin holds the messages: give those as "
                "--input TEXT or --input @FILE"
            )
        command = answering(
            question.run_id, question.step, broker=self.broker, namespace=self._namespace
        )
        return f"to answer: {command}"


class Asking:
    """Shows what one run asks, and takes the answers, one question after the other."""

    def __init__(self, client: Client, agent: str, run: str, view: View, desk: Desk) -> None:
        self._client, self._agent, self._run = client, agent, run
        self._view, self._desk = view, desk
        self._waiting: asyncio.Queue[Question] = asyncio.Queue()
        self._answered: dict[str, asyncio.Event] = {}
        """Of every question that was seen, by its step."""
        self._unreadable = ""

    async def look(self) -> list[Question]:
        """Find what the run asks now; returns the questions that are new."""
        try:
            found = await self._client.questions(self._run)
        except BrokerError:  # the broker is away: the run itself says so when it lasts
            return []
        new = [one for one in found if one.step not in self._answered]
        for question in new:
            self._answered[question.step] = asyncio.Event()
            self._waiting.put_nowait(question)
        return new

    def answered(self, step: str) -> None:
        """Take that a step has its result: it no longer needs an answer."""
        if step in self._answered:
            self._answered[step].set()

    async def serve(self) -> None:
        """Show and answer questions until this is cancelled."""
        while True:
            question = await self._waiting.get()
            if not self._answered[question.step].is_set():
                await self._ask(question)

    async def _ask(self, question: Question) -> None:
        first, *facts = asked_at_length(question.question)
        options = choices(question.options)
        lines = [f"{question.agent} asks: {first}", *facts]
        if not self._desk.prompts:
            offered = [f"choose: {options}"] if options else []
            self._view.ask([*lines, *offered, self._desk.how(question)])
            self._view.go_on()
            return
        self._view.ask(lines, prompt=f"answer ({options}): " if options else "answer: ")
        try:
            await self._take(question, self._desk.lines())
        finally:
            self._view.go_on()

    async def _take(self, question: Question, lines: StdinLines) -> None:
        """Read lines until one answers the question, or another process has answered it.

        Only the reading is given up then: an answer that is being given is recorded and wakes the
        run, and its own record is what says that the question is answered.
        """
        answered = self._answered[question.step]
        while True:
            line = await first_of(self._next(lines), answered.wait())
            if line is None:
                self._view.ask(["it was answered elsewhere"])
                return
            (text,) = line
            if text is None:
                break
            try:
                answer = answer_in(text, question.options)
                await self._client.answer(self._run, answer, step=question.step)
            except NoQuestion:  # answered elsewhere meanwhile
                return
            except AixgoError as error:  # not an answer, or the broker is away
                self._view.ask([str(error)], prompt="answer: ")
                continue
            return
        if self._desk.broker:
            self._view.ask([f"no answer was given; {self._desk.how(question)}"])
        else:
            await self._client.cancel(self._agent, self._run, self._unreadable or UNANSWERED)

    async def _next(self, lines: StdinLines) -> tuple[str | None]:
        """Return the next line; None at the end, and after bytes that are not text."""
        try:
            return (await lines.next(),)
        except ConfigError as error:
            self._unreadable = f"it asks a person, and the answer cannot be read: {error}"
            self._view.ask([str(error)])
            return (None,)
