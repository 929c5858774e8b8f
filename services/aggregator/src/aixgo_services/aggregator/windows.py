"""Windows over events: what comes within a time is aggregated together, whatever dies meanwhile.

The open windows of an agent are one record that all of its instances share (`Feed.recall` and
`remember`), changed by compare-and-set. An event joins the newest open window, or opens one. The
run of the event that opened a window sleeps, durably, until its time is over, and closes it; the
one that fills it closes it at once. Joining and closing are each recorded as a step of the event's
run, and doing them again changes nothing, so a process may die anywhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from aixgo import Context, Message
from aixgo.agents.role import Feed
from aixgo.clock import now
from aixgo.errors import BodyTooLarge, NotReady, WrongSequence
from aixgo_services.aggregator.inputs import Input, text_of
from aixgo_services.aggregator.options import AggregatorOptions

T = TypeVar("T")

MOST_BYTES = 128 * 1024
"""Of the inputs of one window: it is closed before the record of all of them grows too large."""

KEPT_SECONDS = 3600.0
"""What no run took note of is kept for so long after its window was closed: a process died."""

NOTED_SECONDS = 60.0
"""What was taken note of is kept for so long: another execution of the event may be at work."""

FULL_BYTES = 192 * 1024
"""Of the record, over which no event joins a window until another one is closed. What is left up to
the limit of a record is for those that close windows."""

ROOM_SECONDS = 0.2
"""Between two looks for room."""

LATEST_SECONDS = 30.0
"""How much longer than its time a window may be open before it is taken for lost, because the run
that opened it has failed for good: the next window takes over what is in it."""


class Window(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A window.

    Attributes:
        opener: the event that opened it, and names it.
        events: those that joined, in order, each with its input.
        closer: the event that closed it; empty while it is open.
    """

    opener: str
    opened: float
    events: list[str] = []
    inputs: list[Input] = []
    closer: str = ""
    closed: float = 0.0


class Windows(msgspec.Struct, kw_only=True):
    """All windows of one agent."""

    windows: list[Window] = []


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is to its window.

    Attributes:
        window: the event that opened it.
        opens, fills: whether this event did so.
    """

    window: str
    opens: bool
    fills: bool


class Gathering:
    """The windows of one agent, as one of its instances sees them."""

    def __init__(self, options: AggregatorOptions, seconds: float) -> None:
        self._most, self._seconds = options.max_input_sources, seconds
        self._feed: Feed | None = None
        self._lock = asyncio.Lock()
        self._noted: dict[str, float] = {}  # events whose step is recorded, and since when
        self._taken: dict[str, float] = {}  # windows whose inputs are

    def start(self, feed: Feed) -> None:
        """Take the way to the record; called once."""
        self._feed = feed

    async def gather(self, message: Message, ctx: Context) -> list[Input] | None:
        """Return the inputs of the window that this event closes; None when another one does.

        Raises:
            NotReady: the agent has not started yet.
            BodyTooLarge: the event alone is over what a window can hold.
        """
        event = _short(f"{message.source}.{message.run_id}.{ctx.step}")
        confidence = message.meta.get("confidence")
        sure = isinstance(confidence, int | float) and 0 <= confidence <= 1
        one = Input(
            source=message.source,
            content=text_of(message.data),
            confidence=float(confidence) if sure and confidence is not None else None,
        )
        if len(one.content.encode()) > MOST_BYTES:
            raise BodyTooLarge(f"an event of {message.source!r}", len(one.content), MOST_BYTES)
        found = await ctx.record(
            lambda: self._changed(lambda all_: self._join(all_, event, one), FULL_BYTES),
            key="join",
        )
        self._noted[event] = now()
        joined = msgspec.convert(found, Joined)
        if joined.opens and not joined.fills:
            await ctx.sleep(self._seconds, key="window")
        elif not joined.fills:
            return None
        close = partial(self._close, opener=joined.window, event=event)
        closed = await ctx.record(lambda: self._changed(close), key="close")
        if closed is None:
            return None
        self._taken[joined.window] = now()
        return msgspec.convert(closed, list[Input])

    # -- the record ----------------------------------------------------------------------------

    async def _changed(self, change: Callable[[Windows], T], most: int = 0) -> T:
        """Change the record; what another instance did meanwhile is taken into account.

        Args:
            most: bytes of the record after it; waits until there is room. 0 for no such limit.
        """
        if self._feed is None:
            raise NotReady("the aggregator has not started yet; try again")
        while True:
            async with self._lock:  # the events of one instance need not fight each other
                known = await self._feed.recall()
                value = Windows() if known.value is None else msgspec.convert(known.value, Windows)
                self._forget(value)
                before = msgspec.json.encode(value)
                result = change(value)
                after = msgspec.json.encode(value)
                if after == before:
                    return result
                if not most or len(after) <= most:
                    try:
                        await self._feed.remember(value, revision=known.revision)
                    except WrongSequence:
                        continue
                    return result
            await asyncio.sleep(ROOM_SECONDS)

    def _forget(self, known: Windows) -> None:
        """Leave out what is recorded as steps of runs; it goes with the next change."""
        moment = now()
        noted = {event for event, since in self._noted.items() if since <= moment - NOTED_SECONDS}
        left = []
        for window in known.windows:
            if window.closer:
                if window.opener in self._taken:
                    window.inputs = []
                window.events = [event for event in window.events if event not in noted]
                if moment >= window.closed + KEPT_SECONDS or not (window.events or window.inputs):
                    continue
            left.append(window)
        known.windows = left
        oldest = moment - KEPT_SECONDS - self._seconds
        for memory in (self._noted, self._taken):
            while memory and (first := next(iter(memory))) and memory[first] < oldest:
                del memory[first]

    def _join(self, known: Windows, event: str, one: Input) -> Joined:
        """Put an event into the newest open window, or open one with it."""
        moment = now()
        for window in known.windows:
            if event in window.events:  # this was done, and not taken note of
                return self._joined(window, event)
        late = moment - self._seconds - LATEST_SECONDS
        opened = [window for window in known.windows if not window.closer]
        newest = opened[-1] if opened else None
        if newest is not None and newest.opened > late and self._has_room(newest, one):
            window = newest
        else:
            window = Window(opener=event, opened=moment)
            for lost in (one for one in opened if one.opened <= late):
                window.events += lost.events
                window.inputs += lost.inputs
                known.windows.remove(lost)
            known.windows.append(window)
        window.events.append(event)
        window.inputs.append(one)
        return self._joined(window, event)

    def _has_room(self, window: Window, one: Input) -> bool:
        size = sum(len(each.content.encode()) for each in (*window.inputs, one))
        return len(window.events) < self._most and size <= MOST_BYTES

    def _joined(self, window: Window, event: str) -> Joined:
        place = window.events.index(event) + 1
        return Joined(window=window.opener, opens=window.opener == event, fills=place == self._most)

    def _close(self, known: Windows, opener: str, event: str) -> list[Input] | None:
        """Close a window for an event; returns its inputs, None when another event closed it."""
        window = next((one for one in known.windows if one.opener == opener), None)
        if window is None or (window.closer and window.closer != event):
            return None
        if not window.closer:
            window.closer, window.closed = event, now()
        return window.inputs


def _short(event: str) -> str:
    """Return a short name of an event: the record has one of each that it knows."""
    return hashlib.blake2b(event.encode(), digest_size=8).hexdigest()
