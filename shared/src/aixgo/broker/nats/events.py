"""What happens to a connection, told to its listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aixgo.broker.port import BrokerEvent
from aixgo.errors import cut, text_of

log = logging.getLogger("aixgo.broker.nats")

_SUBJECT_CHARACTERS, _TEXT_CHARACTERS = 200, 1_000
"""Of what goes wrong that listeners and log lines are told: other programs choose subjects."""


class Events:
    """The listeners of a connection; none of them can disturb it."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[BrokerEvent], None]] = []
        self._last_failure = ""

    def on_event(self, listener: Callable[[BrokerEvent], None]) -> None:
        """Call `listener` for every event."""
        self._listeners.append(listener)

    def emit(self, kind: str, detail: str) -> None:
        """Tell the listeners; what one of them raises is logged."""
        event = BrokerEvent(kind=kind, detail=detail)
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("broker.listener_failed", extra={"event": kind})

    def failed(self, error: Exception) -> None:
        """Tell of a failed attempt to reconnect, but only once of the same failure in a row."""
        text = f"{type(error).__name__}: {error}"
        if text != self._last_failure:
            self._last_failure = text
            self.emit("error", text)

    def worked(self) -> None:
        """An attempt has worked: the next failure is news again."""
        self._last_failure = ""

    def bug(self, error: BaseException, subject: str) -> None:
        """Tell what a callback or handler raised."""
        subject = cut(subject, _SUBJECT_CHARACTERS)
        where = f" on {subject!r}" if subject else ""
        log.error("broker.callback_failed", exc_info=error, extra={"subject": subject})
        text = cut(text_of(error), _TEXT_CHARACTERS)
        self.emit("error", f"{type(error).__name__}{where}: {text}")
