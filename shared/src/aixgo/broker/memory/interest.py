"""Who listens on which subject: the interest graph of a server."""

from __future__ import annotations

from collections.abc import Mapping
from random import random
from types import MappingProxyType
from typing import NamedTuple, Protocol

from aixgo.broker.memory.matching import Memo, PatternTree, check_subject, is_wild
from aixgo.broker.memory.stream import Stream
from aixgo.broker.memory.subscription import MemorySubscription
from aixgo.broker.port import BusMessage

INBOX = "_INBOX"
_NO_GROUPS: Mapping[str, tuple[MemorySubscription, ...]] = MappingProxyType({})


class Listener(Protocol):
    """Who gets a message: one plain subscription, as nearly always, or `Listeners`."""

    def offer(self, message: BusMessage) -> None:
        """Give it the message."""
        ...


class Listeners:
    """Subscriptions that get a message: every plain one, and one of each group.

    The tuples are replaced, never changed, so a subscription may leave while a message is offered.
    """

    __slots__ = ("groups", "plain")

    def __init__(self) -> None:
        self.plain: tuple[MemorySubscription, ...] = ()
        self.groups: Mapping[str, tuple[MemorySubscription, ...]] = _NO_GROUPS

    def add(self, subscription: MemorySubscription) -> None:
        """Let a subscription take part."""
        group = subscription.queue
        if group:
            self.groups = {**self.groups, group: (*self.groups.get(group, ()), subscription)}
        else:
            self.plain = (*self.plain, subscription)

    def remove(self, subscription: MemorySubscription) -> bool:
        """Take a subscription out; returns whether none is left."""
        if not self.groups and self.plain == (subscription,):
            self.plain = ()
            return True
        self.plain = tuple(each for each in self.plain if each is not subscription)
        if subscription.queue:
            groups = {
                name: tuple(each for each in members if each is not subscription)
                for name, members in self.groups.items()
            }
            self.groups = {name: members for name, members in groups.items() if members}
        return not self.plain and not self.groups

    def offer(self, message: BusMessage) -> None:
        """Give the message to every plain subscription and to a random member of each group."""
        for subscription in self.plain:
            subscription.offer(message)
        if self.groups:
            for members in self.groups.values():
                count = len(members)
                members[int(random() * count) if count > 1 else 0].offer(message)

    def __or__(self, other: Listeners) -> Listeners:
        """Return both together; groups of one name become one."""
        both = Listeners()
        both.plain = self.plain + other.plain
        groups = dict(self.groups)
        for name, members in other.groups.items():
            groups[name] = groups.get(name, ()) + members
        both.groups = groups
        return both


class Route(NamedTuple):
    """Where a subject leads, apart from its literal subscriptions."""

    wild: Listeners | None
    stream: Stream | None


class Interest:
    """Subscriptions and streams by subject.

    Literal subscriptions come and go with every call, so they live in a plain dict. Wildcards and
    streams change seldom: what they give for a subject is remembered until they do.
    """

    def __init__(self) -> None:
        self.literal: dict[str, Listener] = {}
        self._memo: Memo[Route] = Memo()
        self.routes = self._memo.exact
        """What `find` gave, for the subjects that it gave it for; a look into it saves the call."""
        self.known = self._memo.find_by_stem
        """What is known of a subject that is not in `routes`; such a one is surely well formed."""
        self.spied = False
        """Whether some wildcard matches the inboxes of requests."""
        self._wild: PatternTree[MemorySubscription] = PatternTree()
        self._spies = 0
        self._streams: PatternTree[Stream] = PatternTree()

    def find(self, subject: str) -> Route:
        """Return the route of a subject; callers look in `routes` and `known` first.

        Raises:
            BadSubject: it cannot be published to.
        """
        check_subject(subject)
        return self._explore(subject)

    def lead(self, subject: str) -> Route:
        """Return the route of a subject that was made of good ones."""
        return self._memo.find_good(subject) or self._explore(subject)

    def _explore(self, subject: str) -> Route:
        tokens = subject.split(".")
        found, decided = self._wild.match(tokens)
        wild: Listeners | None = None
        if found:
            wild = Listeners()
            for subscription in found:
                wild.add(subscription)
        streams, decided_too = self._streams.match(tokens)
        route = Route(wild, streams[0] if streams else None)
        self._memo.keep(subject, route, max(decided, decided_too), len(tokens))
        return route

    def deliver(self, message: BusMessage, wild: Listeners | None) -> bool:
        """Pass the message to its listeners; returns whether there are any."""
        literal = self.literal.get(message.subject)
        if literal is None:
            if wild is None:
                return False
            wild.offer(message)
        elif wild is None:
            literal.offer(message)
        else:
            (_listeners(literal) | wild).offer(message)
        return True

    def subscribe(self, subscription: MemorySubscription) -> None:
        """Let a subscription take part from now on."""
        subject = subscription.subject
        if is_wild(subject):
            self._wild.add(subject, subscription)
            self._watch_inboxes(subject, 1)
            self._memo.clear()
            return
        held = self.literal.get(subject)
        if held is None and not subscription.queue:
            self.literal[subject] = subscription
            return
        listeners = self.literal[subject] = _listeners(held)
        listeners.add(subscription)

    def unsubscribe(self, subscription: MemorySubscription) -> None:
        """Take a subscription out."""
        subject = subscription.subject
        held = self.literal.get(subject)
        if held is subscription or (isinstance(held, Listeners) and held.remove(subscription)):
            del self.literal[subject]
        elif is_wild(subject):
            self._wild.remove(subject, subscription)
            self._watch_inboxes(subject, -1)
            self._memo.clear()

    def _watch_inboxes(self, pattern: str, change: int) -> None:
        first = pattern.split(".", 1)[0]
        if first in (">", "*", INBOX):
            self._spies += change
            self.spied = self._spies > 0

    def add_stream(self, stream: Stream, subjects: tuple[str, ...]) -> None:
        """Let a stream keep what is published to these subjects."""
        for pattern in set(subjects):
            self._streams.add(pattern, stream)
        self._memo.clear()

    def remove_stream(self, stream: Stream, subjects: tuple[str, ...]) -> None:
        """Let a stream keep nothing more of these subjects."""
        for pattern in set(subjects):
            self._streams.remove(pattern, stream)
        self._memo.clear()


def _listeners(held: Listener | None) -> Listeners:
    """Return who listens to a subject as several."""
    if isinstance(held, Listeners):
        return held
    listeners = Listeners()
    if isinstance(held, MemorySubscription):
        listeners.add(held)
    return listeners
