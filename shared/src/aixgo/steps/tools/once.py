"""Tools that must not be executed twice: reserved, executed, done; or in doubt.

The result record says that the step is done, and a reservation without one that it may be. A
reservation is made by compare-and-set, so one owner executes, and only for a limited time: what is
found after that time is *in doubt*. Whether it took place is then decided once, by a verdict
that is written by compare-and-set too: by the tool's `reconcile`, or by a person. Only the verdict
"not done" leads to another reservation, of the next number.

What no protocol of ours can exclude: a process that is frozen between its look at the clock and
the tool's first packet, and goes on when its time is over. The far side can, by `idempotency_key`.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Literal

import msgspec

from aixgo.calls.parking import Awaited, Parked
from aixgo.calls.results import failure_of
from aixgo.calls.retry import next_delay
from aixgo.clock import now, rfc3339
from aixgo.config.agents import Retry
from aixgo.envelope import Envelope, Failure, new_id
from aixgo.errors import BrokerError, InvalidPayload, ToolError, ToolNotDone, code_of
from aixgo.pauses import Pauses
from aixgo.payloads import to_payload
from aixgo.steps.tools.journal import Doubt, Reservation, ToolJournal, Verdict
from aixgo.steps.tools.step import ToolStep, log
from aixgo.tools import Done, NotDone, Unknown
from aixgo.tools.port import Arguments

_SLACK_SECONDS = 0.5
"""A reservation is over this long after its time: for the clocks of two machines, and for a packet
that its owner sent at the last moment."""

_FIRING_SHARE = 0.5
"""Of a reservation's time that must be left when the tool is executed; else it is made anew."""

WAIT_SECONDS = 5.0
"""What takes longer is waited for in the parking place, which holds no delivery."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 10.0
"""Back-off of recording a value while the broker cannot take it."""

HOOK_RETRY = Retry(max_attempts=3, retry_on=("any",))
"""A `reconcile` that fails three times knows nothing."""

SHOWN_CHARS = 4_000
"""Of the arguments, and of each reason, in a question; longer ones are cut."""

_WHO = {"tool": "the tool itself", "reconcile": "its `reconcile`", "person": "a person"}

_DONE, _NOT_DONE = "done", "not done"
"""What a person can answer; `{"done": value}` adds the tool's value."""


class Once:
    """One execution's way through a `once` step; several owners may be on it at once."""

    def __init__(self, step: ToolStep, arguments: Arguments) -> None:
        self._step, self._arguments = step, arguments
        self._journal = ToolJournal(step)
        self._history = step.caller.space.history
        self._owner = new_id()
        self._refused = 0
        """Executions of this epoch of which the tool said that nothing happened."""
        self._untold: tuple[Reservation, Verdict] | None = None
        """A verdict that was found, and that its owner may have had no time to report."""

    async def run(self) -> Envelope:
        """Return the step's result; see `perform` for the errors."""
        number = 1
        while True:
            if number > 1 and (standing := await self._step.standing()) is not None:
                return standing
            async with AsyncExitStack() as place:
                # before the reservation, whose time would pass while it waits
                await place.enter_async_context(self._step.place())
                held = await self._reserve(number)
                if held.owner == self._owner:
                    await self._tell_untold()
                    result = await self._execute(held, place)
                else:
                    await place.aclose()
                    result = await self._find(held)
            if result is not None:
                return result
            number += 1

    async def _reserve(self, number: int) -> Reservation:
        """Return the reservation of that number that stands, one's own or an earlier one."""
        began = now()
        return await self._journal.reserve(
            Reservation(
                owner=self._owner, number=number, since=began, until=self._step.end_of(began)
            )
        )

    # -- each returns the step's result, or None when the execution did not take place -----------

    async def _execute(self, held: Reservation, place: AsyncExitStack) -> Envelope | None:
        """Execute the tool under a reservation of one's own; leaves its place after that."""
        step = self._step
        left = held.until - now()
        try:
            if left <= (held.until - held.since) * _FIRING_SHARE:
                raise ToolNotDone(
                    f"the reservation took so long that {left:.1f} s of its "
                    f"{held.until - held.since:g} s were left; is the broker overloaded?"
                )
            began = now()
            async with place:
                value = await step.execute(self._arguments, step.context(held.number, held.until))
            payload = to_payload(value)
        except ToolNotDone as error:
            failure = failure_of(error, step.agent, held.number)
            verdict = await self._judge(held, _not_done("tool", failure))
            return await self._follow(held, verdict, error.retry_after)
        except asyncio.CancelledError:
            stopped = ToolError("it was cancelled, or its process was told to stop")
            await self._report("in_doubt", held, failure_of(stopped, step.agent, held.number))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what happened is not known
            await self._doubt(held, failure_of(error, step.agent, held.number))
            return await self._find(held)
        return await self._finish(held, payload, now() - began)

    async def _finish(
        self, held: Reservation, value: msgspec.Raw, seconds: float
    ) -> Envelope | None:
        """Record the value; while the broker cannot take it, keep it and try again."""
        pauses = Pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        while True:
            try:
                if now() <= held.until:
                    return await self._step.done(value, held.number, seconds)
                # others may have taken it for what it is not by now: the first verdict counts
                result = await self._follow(held, await self._judge(held, _done("tool", value)))
                # and they may have parked the run to ask a person
                await self._step.caller.space.parking.wake(
                    self._step.request.run, self._step.request.parent
                )
                return result
            except BrokerError as error:
                if not error.retryable or self._step.is_over:
                    raise
                log.warning("tool.not_recorded", extra={**self._step.fields, "error": error.code})
            await pauses.wait()

    async def _find(self, held: Reservation) -> Envelope | None:
        """Come to know what became of an execution, when its owner's time is over."""
        standing = await self._step.standing()
        if standing is not None:
            return standing
        verdict = await self._journal.verdict(held.number)
        if verdict is None:
            standing = await self._wait(held)
            if standing is not None:
                return standing
            verdict = await self._journal.verdict(held.number) or await self._resolve(held)
        if verdict.owner != self._owner:
            self._untold = held, verdict
        return await self._follow(held, verdict)

    async def _wait(self, held: Reservation) -> Envelope | None:
        """Wait until a reservation is over; returns the result that came meanwhile."""
        step, request = self._step, self._step.request
        over = held.until + _SLACK_SECONDS
        left = over - now()
        if left <= 0:
            return await step.standing()
        if request.deadline is not None and over >= request.deadline:
            await self._doubt(held)  # its owner may never come back to say so
        if left > WAIT_SECONDS:
            raise Parked(until=over, awaited=[Awaited(agent=step.agent, step=step.path)])
        return await step.caller.await_result(step.agent, request.run, step.path, left)

    async def _follow(
        self, held: Reservation, verdict: Verdict, retry_after: float | None = None
    ) -> Envelope | None:
        """Do what a verdict says."""
        step = self._step
        if verdict.done:
            await self._tell_untold()
            return await step.done(verdict.value, held.number, 0.0)
        if verdict.by != "tool" or verdict.epoch != step.request.epoch or verdict.error is None:
            return None
        self._refused += 1
        said = verdict.error
        error = ToolNotDone(said.message, retryable=said.retryable, retry_after=retry_after)
        delay = next_delay(step.tool.spec.retry, self._refused, error)
        if delay is None:
            return await step.failed(error, held.number, 0.0)
        if verdict.owner == self._owner:
            log.warning("tool.again", extra={**step.fields, "error": said.code, "retry_in": delay})
            await asyncio.sleep(delay)
        return None

    # -- doubts and verdicts -------------------------------------------------------------------

    async def _resolve(self, held: Reservation) -> Verdict:
        """Ask for a verdict: who answered, the tool's hook, or a person.

        Raises:
            Parked: a person is asked.
        """
        answer = await self._journal.answer(held.number)
        if answer is not None:
            return await self._judge(held, _answered(answer, self._step.path))
        doubt = await self._doubt(held)
        resolution = await self._ask_tool(held)
        match resolution:
            case Done(value):
                return await self._judge(held, _done("reconcile", to_payload(value)))
            case NotDone():
                return await self._judge(held, _not_done("reconcile"))
            case Unknown(reason):
                raise self._ask_person(held, doubt, reason)

    async def _ask_tool(self, held: Reservation) -> Done | NotDone | Unknown:
        step, attempt = self._step, 0
        while True:
            attempt += 1
            try:
                async with asyncio.timeout(step.timeout):
                    ctx = step.context(held.number, now() + step.timeout)
                    found = await step.tool.reconcile(self._arguments, ctx)
                    if isinstance(found, Done):
                        to_payload(found.value)
                    return found
            except Exception as error:  # noqa: BLE001 - whatever the hook raises, it knows nothing
                delay = next_delay(HOOK_RETRY, attempt, error)
                text = f"`reconcile` failed: {code_of(error)}: {error}"
                log.warning("tool.reconcile_failed", extra=step.fields, exc_info=error)
                if delay is None:
                    return Unknown(text)
            await asyncio.sleep(delay)

    def _ask_person(self, held: Reservation, doubt: Doubt, reason: str) -> Parked:
        step = self._step
        name = step.tool.spec.name
        question = {
            "question": f"did tool {name!r} do this?",
            "tool": name,
            "arguments": _shown(step.payload),
            "since": rfc3339(held.since),
            "idempotency_key": step.context(held.number, held.until).idempotency_key,
            "error": _cut(doubt.error.message),
            "reconcile": _cut(reason),
        }
        asked = Awaited(
            agent=step.agent,
            step=self._journal.path("ask", held.number),
            question=question,
            options=(_DONE, _NOT_DONE),
            schemas={_DONE: step.tool.spec.output_schema},
        )
        # its owner may come back after all and record the result
        return Parked(awaited=[asked, Awaited(agent=step.agent, step=step.path)])

    async def _doubt(self, held: Reservation, error: Failure | None = None) -> Doubt:
        """Note that the end of an execution is not known, and tell the history once."""
        standing = await self._journal.doubt(held.number)
        if standing is not None:
            return standing
        if error is None:
            lost = ToolError("the process that executed it ended, or lost its connection")
            error = failure_of(lost, self._step.agent, held.number)
        await self._report("in_doubt", held, error)  # before the note: rather twice than never
        return await self._journal.add_doubt(held.number, Doubt(at=now(), error=error))

    async def _judge(self, held: Reservation, verdict: Verdict) -> Verdict:
        """Write a verdict down; returns the first one, which stands."""
        wanted = msgspec.structs.replace(verdict, owner=self._owner, epoch=self._step.request.epoch)
        standing = await self._journal.judge(held.number, wanted)
        mine = standing.owner == self._owner
        if mine:
            await self._tell(held, standing)
        elif verdict.done and verdict.by == "tool" and not standing.done:
            # it came back with a value after it was said that it did not take place
            log.critical("tool.twice", extra={**self._step.fields, "attempt": held.number})
        return standing

    async def _tell_untold(self) -> None:
        untold, self._untold = self._untold, None
        if untold is not None:
            await self._tell(*untold)

    async def _tell(self, held: Reservation, verdict: Verdict) -> None:
        """Report a verdict about what was in doubt."""
        if verdict.by != "tool" or await self._journal.doubt(held.number) is not None:
            said = f"{_DONE if verdict.done else _NOT_DONE}, says {_WHO[verdict.by]}"
            await self._report("resolved", held, detail=said)

    async def _report(
        self,
        what: Literal["in_doubt", "resolved"],
        held: Reservation,
        error: Failure | None = None,
        *,
        detail: str = "",
    ) -> None:
        extra: dict[str, Any] = {**self._step.fields, "attempt": held.number}
        if error is not None:
            extra["error"] = error.message
        if what == "in_doubt":
            log.warning("tool.in_doubt", extra=extra)
        else:
            log.info("tool.resolved", extra=extra)
        name = self._step.tool.spec.name
        await self._history.add(
            what,
            self._step.request,
            attempt=held.number,
            error=error,
            detail=f"tool {name!r}: {detail}" if detail else f"tool {name!r}",
        )


def _shown(arguments: msgspec.Raw) -> Any:
    text = bytes(arguments).decode()
    return msgspec.json.decode(text) if len(text) <= SHOWN_CHARS else _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _done(by: Any, value: msgspec.Raw) -> Verdict:
    return Verdict(done=True, by=by, owner="", value=value)


def _not_done(by: Any, error: Failure | None = None) -> Verdict:
    return Verdict(done=False, by=by, owner="", error=error)


def _answered(body: bytes, path: str) -> Verdict:
    """Return the verdict in a person's answer."""
    match msgspec.json.decode(body):
        case "done":
            return _done("person", msgspec.Raw(b"null"))
        case {"done": value, **more} if not more:
            return _done("person", to_payload(value))
        case "not done":
            return _not_done("person")
        case {"not done": _, **more} if not more:
            return _not_done("person")
        case other:
            raise InvalidPayload(
                f"{other!r:.200} does not answer whether step {path!r} was done; it is one of "
                "'done', {'done': value} and 'not done'"
            )
