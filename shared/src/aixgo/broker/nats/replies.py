"""Requests: one wildcard inbox for all answers, an entry and a timer for each question."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from aixgo.broker.nats.link import Link, Listener
from aixgo.broker.nats.refusals import denied
from aixgo.broker.nats.wire import STATUS
from aixgo.broker.port import BusMessage
from aixgo.errors import BrokerError, Disconnected, NoResponders, RequestTimeout

NO_RESPONDERS = "503"


def no_responders(subject: str) -> NoResponders:
    """Return the error of a question that reaches no process."""
    return NoResponders(
        f"no process listens on {subject!r}; is the service up? Look with `aixgo doctor`"
    )


def no_stream(subject: str) -> NoResponders:
    """Return the error of an append that no stream takes."""
    return NoResponders(
        f"no stream keeps {subject!r}; run `aixgo provision FILE` against this broker once, or "
        "correct the subject"
    )


class _Waiting(Protocol):
    """An entry of the inbox."""

    subject: str
    fragile: bool

    def arrive(self, message: BusMessage) -> None: ...

    def fail(self, error: BrokerError) -> None: ...


class _One:
    """Waits for one answer."""

    __slots__ = ("answer", "fragile", "subject")

    def __init__(self, subject: str, answer: asyncio.Future[BusMessage], fragile: bool) -> None:
        self.subject = subject
        self.answer = answer
        self.fragile = fragile

    def arrive(self, message: BusMessage) -> None:
        if self.answer.done():
            return
        if message.headers and message.headers.get(STATUS) == NO_RESPONDERS:
            self.answer.set_exception(no_responders(self.subject))
        else:
            self.answer.set_result(message)

    def fail(self, error: BrokerError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def expire(self, timeout: float) -> None:
        self.fail(
            RequestTimeout(
                f"no answer on {self.subject!r} within {timeout:g} s; a process listens, so it is "
                "slow or stuck: allow more time or look at its logs"
            )
        )


class Many:
    """Waits for a sequence of answers; leave the block to forget the late ones."""

    fragile = True

    def __init__(self, replies: Replies, subject: str) -> None:
        self.subject = subject
        self._replies = replies
        self._answers: asyncio.Queue[BusMessage | BrokerError] = asyncio.Queue()
        self._token = ""

    def __enter__(self) -> Many:
        self._token, self.inbox = self._replies.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._replies.leave(self._token)

    def arrive(self, message: BusMessage) -> None:
        """Take an answer."""
        self._answers.put_nowait(message)

    def fail(self, error: BrokerError) -> None:
        """Take the news that no more will come."""
        self._answers.put_nowait(error)

    async def next(self, timeout: float) -> BusMessage:
        """Return the next answer.

        Raises:
            RequestTimeout: none came within `timeout` seconds.
            Disconnected, PermissionDenied: none will come.
        """
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answers.get()
        except TimeoutError:
            raise RequestTimeout(
                f"the answers on {self.subject!r} stopped for {timeout:g} s"
            ) from None
        if isinstance(answer, BrokerError):
            raise answer
        return answer


class Replies:
    """The inbox of a connection."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self.root = f"{prefix}.{os.urandom(11).hex()}"
        """Below it is everything that only this connection receives."""
        self._base = f"{self.root}."
        self._cut = len(self._base)
        self._count = 0
        self._waiting: dict[str, _Waiting] = {}
        self.inbox = Listener(f"{self._base}*", self._arrive)

    def start(self) -> None:
        """Listen for answers."""
        self._link.listen(self.inbox)

    def _arrive(self, message: BusMessage) -> None:
        waiting = self._waiting.get(message.subject[self._cut :])
        if waiting is not None:
            waiting.arrive(message)

    def enter(self, waiting: _Waiting) -> tuple[str, str]:
        """Return the token and the inbox of a new entry."""
        self._count += 1
        token = str(self._count)
        self._waiting[token] = waiting
        return token, self._base + token

    def leave(self, token: str) -> None:
        """Drop an entry; its late answers are ignored."""
        self._waiting.pop(token, None)

    def new_inbox(self, kind: str) -> str:
        """Return a subject of its own, for a subscription that takes answers itself."""
        self._count += 1
        return f"{self._base}{kind}.{self._count}"

    def many(self, subject: str) -> Many:
        """Return an inbox for the sequence of answers to one question on `subject`."""
        return Many(self, subject)

    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        timeout: float,
        headers: bytes = b"",
        fragile: bool = False,
    ) -> BusMessage:
        """Return the first answer.

        Args:
            fragile: fail when the connection is lost, instead of hoping for an answer after it.

        Raises:
            NoResponders, RequestTimeout, PermissionDenied, Disconnected.
        """
        answer: asyncio.Future[BusMessage] = self._loop.create_future()
        waiting = _One(subject, answer, fragile)
        token, inbox = self.enter(waiting)
        timer = self._loop.call_later(timeout, waiting.expire, timeout)
        try:
            self._link.send(subject, data, inbox, headers)
            return await answer
        finally:
            timer.cancel()
            self.leave(token)

    def fail(self, which: Callable[[_Waiting], bool], error: BrokerError) -> None:
        """Fail the questions that match."""
        for waiting in [entry for entry in self._waiting.values() if which(entry)]:
            waiting.fail(error)

    def lost(self) -> None:
        """The connection is down: what can ask again should not wait."""
        self.fail(
            lambda waiting: waiting.fragile,
            Disconnected("the connection was lost before the answer came"),
        )

    def deny(self, subject: str) -> None:
        """The server refuses `subject` (in lower case) to this user."""
        for waiting in list(self._waiting.values()):
            if waiting.subject.lower() == subject:
                waiting.fail(denied("publish", waiting.subject))
