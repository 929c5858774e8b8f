"""What every session store promises: one plain async function a promise.

A check gets a `Stage` of its own: the store under test, and a second one that sees the same
conversations over a connection of its own, as another process has. pytest is not needed:

    async with MyStore.open(url) as store, MyStore.open(url) as other:
        for check in session_checks.ALL:
            await check(Stage(store, other))

A check returns when the promise is kept and raises AssertionError, with the expected and the seen,
when it is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aixgo.clock import now
from aixgo.envelope import new_id
from aixgo.errors import BodyTooLarge, SessionOfAnother
from aixgo.models.messages import ChatMessage, TextPart, ToolCall
from aixgo.stores.sessions.port import MAX_ENTRY_BYTES, Entry, Key, SessionStore
from aixgo.testing.expect import equal, expect, refused

LATER = 3_600.0
"""Seconds after which nothing of a check is left."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The store under test.

    Attributes:
        other: the same conversations over a connection of its own.
        agent: whose conversations a check makes: no other check has the same.
    """

    store: SessionStore
    other: SessionStore
    agent: str = field(default_factory=lambda: new_id()[-12:])

    def key(self, session: str = "u-17") -> Key:
        """Return the key of one of its conversations."""
        return Key(self.agent, session)

    async def say(self, *texts: str, session: str = "u-17", user: str = "") -> None:
        """Append an entry for each text, whose id it is."""
        for text in texts:
            await self.store.append(self.key(session), entry(text), user=user)

    async def heard(self, session: str = "u-17") -> list[str]:
        """Return the texts of a conversation, as another process sees them."""
        found = await self.other.read(self.key(session))
        return [message.text for message in found.messages()]


Check = Callable[[Stage], Awaitable[None]]


def entry(text: str, at: float = 0.0) -> Entry:
    """Return an entry of one message, with an id made of its text; `at` without it is now."""
    said = ChatMessage(role="user", content=text)
    return Entry(id=f"id-{text[:20]}", at=at or now(), messages=(said,))


async def entries_are_read_in_the_order_in_which_they_were_appended(stage: Stage) -> None:
    """Any process reads what another one appended."""
    await stage.say("one", "two")
    await stage.other.append(stage.key(), entry("three"))
    await stage.say("four")
    for store in (stage.store, stage.other):
        found = await store.read(stage.key())
        texts = [message.text for message in found.messages()]
        equal("texts", texts, ["one", "two", "three", "four"])
        positions = [stored.position for stored in found.entries]
        expect(positions == sorted(set(positions)), f"positions do not grow: {positions}")
        expect(positions[0] >= 1, f"the first position is {positions[0]}, not 1 or more")


async def an_entry_comes_back_as_it_was(stage: Stage) -> None:
    """Every field, parts and tool calls included; line ends and signs of any script too."""
    messages = (
        ChatMessage(role="user", content=(TextPart(text="grüß\r\n\u2028\x00 🜁"),)),
        ChatMessage(role="assistant", tool_calls=(ToolCall(id="c1", name="t", arguments="{"),)),
        ChatMessage(role="tool", tool_call_id="c1", name="t", content="x"),
    )
    given = Entry(id="a b.c/d", at=12.5, messages=messages, name="n", run="r")
    await stage.store.append(stage.key(), given)
    found = await stage.other.read(stage.key())
    equal("entries", [stored.entry for stored in found.entries], [given])


async def the_same_entry_is_added_once(stage: Stage) -> None:
    """By its id, also at once and from two processes; the first one stands at its place."""
    await stage.say("one")
    await stage.other.append(stage.key(), entry("two"))
    await stage.store.append(stage.key(), entry("one"))
    both = (stage.store, stage.other)
    await asyncio.gather(*(store.append(stage.key(), entry("three")) for store in both * 4))
    equal("texts", await stage.heard(), ["one", "two", "three"])


async def two_processes_that_append_at_once_lose_nothing(stage: Stage) -> None:
    """The order of each is kept, and every reader sees the same one of both."""

    async def appends(store: SessionStore, name: str) -> None:
        for number in range(12):
            await store.append(stage.key(), entry(f"{name} {number}"))

    await asyncio.gather(
        *(appends(store, name) for store, name in ((stage.store, "a"), (stage.other, "b"))),
        *(appends(store, name) for store, name in ((stage.store, "c"), (stage.other, "d"))),
    )
    heard = await stage.heard()
    for name in "abcd":
        own = [text for text in heard if text.startswith(name)]
        equal("texts of one", own, [f"{name} {number}" for number in range(12)])
    own_view = [message.text for message in (await stage.store.read(stage.key())).messages()]
    equal("what the other process sees", heard, own_view)


async def what_was_read_up_to_a_position_is_read_again(stage: Stage) -> None:
    """Whatever was appended meanwhile."""
    await stage.say("one", "two")
    before = await stage.other.read(stage.key())
    await stage.say("three")
    again = await stage.store.read(stage.key(), upto=before.position)
    equal("entries", list(again.entries), list(before.entries))
    equal("digest", again.digest(), before.digest())
    equal("texts now", await stage.heard(), ["one", "two", "three"])


async def a_message_of_a_megabyte_is_read_again(stage: Stage) -> None:
    """Between small ones, and twice at once."""
    large = {name: name + "ü" * 600_000 for name in "ab"}
    await stage.say("before")
    await asyncio.gather(
        stage.store.append(stage.key(), entry(large["a"])),
        stage.other.append(stage.key(), entry(large["b"])),
    )
    await stage.store.append(stage.key(), entry(large["a"]))
    await stage.say("after")
    heard = await stage.heard()
    equal("lengths", [len(text) for text in heard], [6, 600_001, 600_001, 5])
    expect(set(heard[1:3]) == set(large.values()), "the large messages are not what was appended")


async def an_entry_over_the_limit_is_refused(stage: Stage) -> None:
    """And leaves nothing behind."""
    with refused(BodyTooLarge, what="an entry over the limit"):
        await stage.store.append(stage.key(), entry("x" * (MAX_ENTRY_BYTES + 1)))
    equal("entries", list((await stage.other.read(stage.key())).entries), [])


async def conversations_do_not_meet(stage: Stage) -> None:
    """Those of other sessions and of other agents, however alike their names are."""
    names = ["a", "A", "a ", "a.b", "a/b", "a_b", "a:b", "*", ">", "ä", "a" * 256, "%"]
    for name in names:
        await stage.say(name, session=name)
    for name in names:
        equal(f"texts of {name[:9]!r}", await stage.heard(name), [name])
    other = Key(f"{stage.agent}x", "a")
    equal("another agent's", list((await stage.store.read(other)).entries), [])


async def a_conversation_belongs_to_the_user_with_whom_it_began(stage: Stage) -> None:
    """Another one, or none, is refused and changes nothing."""
    await stage.say("mine", user="ada")
    for user in ("bob", "", "Ada"):
        with refused(SessionOfAnother, what=f"an entry of user {user!r}"):
            await stage.other.append(stage.key(), entry("theirs"), user=user)
    await stage.other.append(stage.key(), entry("mine too"), user="ada")
    found = await stage.other.read(stage.key())
    equal("user", found.summary.user, "ada")
    equal("texts", await stage.heard(), ["mine", "mine too"])


async def of_two_users_that_begin_at_once_one_is_refused(stage: Stage) -> None:
    """So no user reads what another one wrote."""

    async def begin(store: SessionStore, user: str) -> str:
        try:
            await store.append(stage.key(), entry(f"of {user}"), user=user)
        except SessionOfAnother:
            return ""
        return user

    begun = await asyncio.gather(begin(stage.store, "ada"), begin(stage.other, "bob"))
    (winner,) = [user for user in begun if user]
    equal("texts", await stage.heard(), [f"of {winner}"])
    equal("user", (await stage.other.read(stage.key())).summary.user, winner)


async def going_back_lasts(stage: Stage) -> None:
    """What was taken back stays taken back, and can be brought back; nothing is lost."""
    await stage.say("one", "two")
    for name, to in (("r1", "id-one"), ("r2", "id-two"), ("r3", "")):
        await stage.store.append(stage.key(), Entry(id=name, at=now(), kind="restored", to=to))
        wanted = {"r1": ["one"], "r2": ["one", "two"], "r3": []}[name]
        equal(f"texts after {name}", await stage.heard(), wanted)
    await stage.say("three")
    equal("texts", await stage.heard(), ["three"])
    equal("entries", len((await stage.other.read(stage.key())).entries), 6)


async def conversations_are_found(stage: Stage) -> None:
    """By agent and by user, the last used first, with the times of their entries."""
    said = (("x", "first", "ada"), ("x", "second", "bob"), ("x", "third", "ada"))
    for at, (text, session, user) in enumerate((*said, ("y", "first", "ada")), start=1):
        await stage.store.append(stage.key(session), entry(text, at), user=user)
    found = await stage.other.find(agent=stage.agent)
    equal("sessions", [one.session for one in found], ["first", "third", "second"])
    ada = await stage.other.find(agent=stage.agent, user="ada")
    equal("sessions of a user", [one.session for one in ada], ["first", "third"])
    ours = [one for one in await stage.other.find() if one.agent == stage.agent]
    equal("all", ours, list(found))
    equal("times of the first", (found[0].began, found[0].used), (1, 4))
    equal("of nobody", list(await stage.other.find(user=f"nobody {stage.agent}")), [])


async def what_is_removed_is_gone(stage: Stage) -> None:
    """And may begin again, also for another user and with the same entries."""
    await stage.say("one", "x" * 300_000, user="ada")
    await stage.say("stays", session="other")
    equal("removed", await stage.other.delete(stage.key()), True)
    equal("texts", await stage.heard(), [])
    found = await stage.store.find(agent=stage.agent)
    equal("sessions", [one.session for one in found], ["other"])
    equal("removed again", await stage.other.delete(stage.key()), False)
    await stage.say("one", user="bob")
    equal("texts", await stage.heard(), ["one"])
    equal("texts of the other", await stage.heard("other"), ["stays"])


async def what_has_expired_is_not_there(stage: Stage) -> None:
    """The whole conversation: it begins anew, also for another user."""
    past = now() - 10
    await stage.store.append(stage.key(), entry("old"), user="ada", expires=past)
    equal("texts", await stage.heard(), [])
    equal("sessions", list(await stage.other.find(agent=stage.agent)), [])
    await stage.other.append(stage.key(), entry("new"), user="bob", expires=now() + LATER)
    equal("texts", await stage.heard(), ["new"])
    (summary,) = await stage.store.find(agent=stage.agent)
    equal("user", summary.user, "bob")


async def an_entry_keeps_the_whole_conversation(stage: Stage) -> None:
    """It expires by its newest entry."""
    soon = now() + LATER
    await stage.store.append(stage.key(), entry("one"), expires=soon)
    await stage.store.append(stage.key(), entry("two"), expires=soon + LATER)
    equal("texts", await stage.heard(), ["one", "two"])
    (summary,) = await stage.other.find(agent=stage.agent)
    equal("expires", round(summary.expires - soon), round(LATER))
    await stage.store.append(stage.key(), entry("three"))
    (summary,) = await stage.other.find(agent=stage.agent)
    equal("expires, when it is kept", summary.expires, 0.0)


async def a_run_still_sees_what_has_expired_since(stage: Stage) -> None:
    """For `SLACK_SECONDS`; a sweep removes what is older than that, and nothing else."""
    past = now() - 10
    await stage.store.append(stage.key("late"), entry("late"), expires=past)
    await stage.store.append(stage.key("old"), entry("old"), expires=past - LATER)
    await stage.store.append(stage.key("kept"), entry("kept"), expires=now() + LATER)
    everything = 2**53
    found = await stage.other.read(stage.key("late"), upto=everything)
    equal("texts before the sweep", [one.text for one in found.messages()], ["late"])
    expect(await stage.other.sweep() >= 1, "the sweep removed nothing")
    for session, wanted in (("late", ["late"]), ("old", []), ("kept", ["kept"])):
        found = await stage.store.read(stage.key(session), upto=everything)
        equal(f"texts of {session!r}", [one.text for one in found.messages()], wanted)


ALL: tuple[Check, ...] = (
    entries_are_read_in_the_order_in_which_they_were_appended,
    an_entry_comes_back_as_it_was,
    the_same_entry_is_added_once,
    two_processes_that_append_at_once_lose_nothing,
    what_was_read_up_to_a_position_is_read_again,
    a_message_of_a_megabyte_is_read_again,
    an_entry_over_the_limit_is_refused,
    conversations_do_not_meet,
    a_conversation_belongs_to_the_user_with_whom_it_began,
    of_two_users_that_begin_at_once_one_is_refused,
    going_back_lasts,
    conversations_are_found,
    what_is_removed_is_gone,
    what_has_expired_is_not_there,
    an_entry_keeps_the_whole_conversation,
    a_run_still_sees_what_has_expired_since,
)
