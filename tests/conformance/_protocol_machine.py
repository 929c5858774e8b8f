"""The machine behind `test_protocol_state_machine`: random histories of durable calls.

Callers, workers that fail, park, freeze and die, cancels and answers, above the broker port. What
must hold after every step is in the invariant, what must hold when all has calmed down in `_calm`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from aixgo.broker.memory import MemoryBroker
from aixgo.broker.topology import AgentNeeds, provision
from aixgo.calls.caller import Caller
from aixgo.calls.parking import Awaited, Parked
from aixgo.calls.results import result_of
from aixgo.calls.space import Space
from aixgo.calls.worker import HandlerFailed, Worker
from aixgo.clock import now
from aixgo.envelope import Envelope, encode, fingerprint, new_id
from aixgo.errors import InvalidPayload, ModelTimeout
from aixgo.subjects import CALLS, RESULTS, Names
from aixgo.testing.broker_checks import Backend

from ._protocol_model import (
    AGENT,
    MOST_CALLS,
    MOST_WORKERS,
    POLICY,
    Call,
    Execution,
    Host,
    Pace,
)

T = TypeVar("T")
Rule = TypeVar("Rule", bound=Callable[..., Any])
numbers = st.integers(0, 11)


def one_of(choices: Sequence[T], pick: int) -> T | None:
    """Return one of the choices; None when there is none."""
    return choices[pick % len(choices)] if choices else None


def sensible(when: Callable[[ProtocolMachine], object]) -> Callable[[Rule], Rule]:
    """Draw the rule only when there is something to do, where that is the same in every run."""
    return precondition(lambda self: not self.pace.exact or bool(when(self)))


class ProtocolMachine(RuleBasedStateMachine):
    """Drives callers and workers, and remembers what it has seen."""

    def __init__(
        self,
        loop_factory: Callable[[], asyncio.AbstractEventLoop],
        backend: Backend,
        names: Names,
        pace: Pace,
    ) -> None:
        super().__init__()
        self.backend, self.names, self.pace = backend, names, pace
        self.runner = asyncio.Runner(loop_factory=loop_factory)
        self.loop = self.runner.get_loop()
        self.stack = AsyncExitStack()
        self.hosts: list[Host] = []
        self.calls: list[Call] = []
        self.executions = 0
        self.wrong: list[str] = []
        self.broken = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.loop.run_until_complete(work)
        except BaseException:
            self.broken = True
            raise

    # -- beginning and end ---------------------------------------------------------------------

    @initialize()
    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        self.broker = await self.stack.enter_async_context(self.backend.connect())
        await provision(
            self.broker,
            self.names,
            [AgentNeeds(name=AGENT, concurrency=64, ack_wait=self.pace.ack_wait)],
        )
        self.space = Space(self.broker, self.names)
        self.caller = Caller(self.space)
        for _ in range(2):
            await self._start()

    async def _start(self) -> None:
        broker = await self.stack.enter_async_context(self.backend.connect(breakable=True))
        name = f"w{len(self.hosts)}"

        async def handle(request: Envelope, attempt: int) -> Envelope:
            return await self._execute(host, request, attempt)

        worker = Worker(
            Space(broker, self.names),
            AGENT,
            handle,
            retry=POLICY,
            concurrency=64,
            sources=(),
            ack_wait=self.pace.ack_wait,
        )
        host = Host(name, broker, worker)
        self.hosts.append(host)
        await worker.start()

    def teardown(self) -> None:
        try:
            if self.hosts and not self.broken:
                self.run(self._calm())
        finally:
            self.loop.run_until_complete(self._close())
            self.runner.close()

    async def _calm(self) -> None:
        """Let everything come to its end, and look at what is left."""
        for host in self.hosts:
            await self._thaw(host)
        await self._until(self._everything_ended)
        letters = await self.space.dead_letters.list()
        for call in self.calls:
            standing = await self._look(call)
            assert standing is not None
            for waiter in call.waiters:
                assert (await waiter).id == standing.id
            mine = [one for one in letters if one.letter.run_id == call.request.run]
            assert len(mine) == (1 if standing.status == "error" else 0), (standing, mine)
            assert standing.status != "error" or call.failed_for_good
            assert not await self.space.parking.get(call.request.run, call.request.step)
        assert self.wrong == []

    async def _everything_ended(self) -> bool:
        for call in self.calls:
            for execution in self._running(call):
                execution.end.set_result("succeed")
            if await self.space.parking.get(call.request.run, call.request.step):
                await self._answer(call)
        open_ = [call for call in self.calls if await self._look(call) is None]
        queued = await self.broker.read(
            self.names.stream(CALLS), f"{self.names.prefix}call.{AGENT}.>"
        )
        return not open_ and not queued

    async def _close(self) -> None:
        for call in self.calls:
            for waiter in call.waiters:
                waiter.cancel()
            await asyncio.gather(*call.waiters, return_exceptions=True)
        for host in self.hosts:
            if host.cut is not None:
                await host.cut.aclose()
            if not host.dead:
                await host.worker.stop()
        await self.stack.aclose()

    # -- handlers ------------------------------------------------------------------------------

    async def _execute(self, host: Host, request: Envelope, attempt: int) -> Envelope:
        call = next(call for call in self.calls if call.request.run == request.run)
        self.executions += 1
        execution = Execution(
            self.executions, call, host, attempt, request.excused, self.loop.create_future()
        )
        if self.pace.exact and not call.may_double:
            elsewhere = [one.host.name for one in self._running(call) if one.host.live]
            if elsewhere:
                self.wrong.append(f"{host.name} began {request.run}, which runs on {elsewhere}")
        call.executions.append(execution)
        if call.record is not None:
            self.wrong.append(f"{host.name} began {request.run} after its result was recorded")
        if host.dead:
            self.wrong.append(f"{host.name} is dead and began {request.run}")
        try:
            how = await execution.end
        finally:
            execution.over = True
        if how == "fail":
            raise HandlerFailed(ModelTimeout("may pass"), None)
        if how == "refuse":
            raise HandlerFailed(InvalidPayload("never passes"), None)
        if how == "park":
            raise Parked(awaited=[Awaited(agent=AGENT, step=self._question(request), question="?")])
        payload = msgspec.Raw(b"%d" % execution.number)
        return result_of(request, AGENT, "done", payload=payload, attempt=attempt)

    @staticmethod
    def _question(request: Envelope) -> str:
        return f"ask/{request.excused + 1}"

    def _running(self, call: Call) -> list[Execution]:
        """Return the executions of a call whose end is not decided."""
        return [one for one in call.executions if not one.over and not one.end.done()]

    @property
    def open_calls(self) -> list[Call]:
        """Those of which no result has been seen."""
        return [call for call in self.calls if call.record is None]

    def _all_running(self, *, live: bool) -> list[Execution]:
        running = [one for call in self.calls for one in self._running(call)]
        return [one for one in running if one.host.live is live]

    @staticmethod
    def _note(execution: Execution, how: str) -> bool:
        """Return whether that is for good for sure: a value, or a failure that is not repeated.

        Executions that were lost, or of another publication, use up no attempt once that is
        noticed, so a failure may be the last one by its number, and be repeated after all.
        """
        call, tried = execution.call, execution.attempt - execution.parks
        if how == "refuse" or (how == "fail" and tried >= POLICY.max_attempts):
            call.failed_for_good = True
            sure = tried - call.lost >= POLICY.max_attempts and not call.may_double
            return how == "refuse" or sure
        return how == "succeed"

    async def _look(self, call: Call) -> Envelope | None:
        return await self.space.results.get(AGENT, call.request.run, call.request.step)

    async def _until(
        self, condition: Callable[[], Coroutine[Any, Any, bool]], within: float | None = None
    ) -> None:
        seconds = self.pace.patience if within is None else within
        end = self.loop.time() + seconds
        while not await condition():
            assert self.loop.time() < end, f"not within {seconds:g} s: {condition!r}"
            await asyncio.sleep(self.pace.look)

    async def _ends(self, execution: Execution, how: str) -> None:
        """End a live execution, and wait for what must follow."""
        call, began = execution.call, len(execution.call.executions)
        answered = execution.parks + 1 in call.answers
        final = self._note(execution, how)
        execution.end.set_result(how)

        async def followed() -> bool:
            if await self._look(call) is not None:
                return True
            if how == "park" and not answered:
                return await self._is_parked(call)
            return not final and self._goes_on(call, began)

        await self._until(followed, within=self.pace.soon)

    def _goes_on(self, call: Call, began: int) -> bool:
        """Whether it was begun again, or joins an execution that runs already."""
        return len(call.executions) > began or bool(self._running(call))

    async def _is_parked(self, call: Call) -> bool:
        return await self.space.parking.get(call.request.run, call.request.step) is not None

    async def _answer(self, call: Call) -> None:
        """Answer what a parked call waits for, as a client does."""
        request, began = call.request, len(call.executions)
        parked = await self.space.parking.get(request.run, request.step)
        if parked is None:
            return
        await self._store_answer(call, parked.awaited[0].step)
        await self.space.parking.wake(request.run, request.step)

        async def followed() -> bool:
            return self._goes_on(call, began) or await self._look(call) is not None

        await self._until(followed, within=self.pace.soon)

    async def _store_answer(self, call: Call, step: str) -> None:
        request = call.request
        frame = Envelope(id=new_id(), kind="call", source="client", run=request.run, step=step)
        answer = result_of(frame, AGENT, "done", payload=msgspec.Raw(b'"yes"'))
        await self.space.results.settle(AGENT, answer)
        call.answers.add(int(step.rpartition("/")[2]))

    # -- rules: callers ------------------------------------------------------------------------
    #
    # Each draws numbers only, and comes at any time on a real server: what there is to choose from
    # there depends on the time that things take.

    @sensible(lambda self: len(self.calls) < MOST_CALLS)
    @rule(expires=st.booleans())
    def call(self, expires: bool) -> None:
        if len(self.calls) < MOST_CALLS:
            self.run(self._call(expires))

    async def _call(self, expires: bool) -> None:
        run, payload = new_id(), msgspec.Raw(b'"x"')
        moment = now()
        request = Envelope(
            id=run,
            kind="call",
            source="client",
            target=AGENT,
            run=run,
            payload=payload,
            sent_at=moment,
            deadline=moment + self.pace.deadline if expires else None,
            fingerprint=fingerprint(AGENT, payload),
        )
        call = Call(request)
        self.calls.append(call)
        self._wait_for(call, look=False)

        async def begun() -> bool:
            return bool(call.executions) or await self._look(call) is not None

        await self._until(begun)

    def _wait_for(self, call: Call, *, look: bool) -> None:
        call.waiters.append(self.loop.create_task(self.caller.call(call.request, look=look)))

    @sensible(lambda self: self.calls)
    @rule(pick=numbers)
    def wait_for_the_same_call(self, pick: int) -> None:
        call = one_of(self.calls, pick)
        if call is not None and len(call.waiters) < 3:
            self._wait_for(call, look=True)
            self.run(asyncio.sleep(0))

    @sensible(lambda self: self.calls)
    @rule(pick=numbers, same_id=st.booleans())
    def publish_again(self, pick: int, same_id: bool) -> None:
        call = one_of(self.calls, pick)
        if call is not None:
            self.run(self._publish_again(call, same_id))

    async def _publish_again(self, call: Call, same_id: bool) -> None:
        if same_id:
            await self.caller.send(call.request)
            return
        call.may_double = True
        subject = self.names.call(AGENT, call.request.run, call.request.step)
        await self.broker.append(subject, encode(call.request))  # as after a lost duplicate window

    @sensible(lambda self: self.open_calls)
    @rule(pick=numbers)
    def cancel(self, pick: int) -> None:
        call = one_of(self.open_calls, pick)
        if call is not None:
            self.run(self._cancel(call))

    async def _cancel(self, call: Call) -> None:
        standing = await self.space.cancels.cancel(call.request, "drawn")

        async def stopped() -> bool:
            return not [one for one in self._running(call) if one.host.live]

        if standing.status == "cancelled":
            await self._until(stopped)

    @sensible(lambda self: any(call.may_expire for call in self.open_calls))
    @rule()
    def let_deadlines_pass(self) -> None:
        self.run(self._until(self._expired))

    async def _expired(self) -> bool:
        return all([await self._look(one) for one in self.calls if one.may_expire])

    @sensible(lambda self: self.open_calls)
    @rule(pick=numbers)
    def answer(self, pick: int) -> None:
        call = one_of(self.open_calls, pick)
        if call is not None:
            self.run(self._answer(call))

    @sensible(lambda self: self._all_running(live=True))
    @rule(pick=numbers)
    def answer_before_it_is_asked(self, pick: int) -> None:
        execution = one_of(self._all_running(live=True), pick)
        if execution is not None:
            step = f"ask/{execution.parks + 1}"
            self.run(self._store_answer(execution.call, step))

    # -- rules: workers ------------------------------------------------------------------------

    @sensible(lambda self: self._all_running(live=True))
    @rule(pick=numbers, how=st.sampled_from(["succeed", "fail", "fail", "refuse", "park"]))
    def end(self, pick: int, how: str) -> None:
        execution = one_of(self._all_running(live=True), pick)
        if execution is not None:
            self.run(self._ends(execution, how))

    @sensible(lambda self: self._all_running(live=False))
    @rule(pick=numbers, how=st.sampled_from(["succeed", "succeed", "fail", "refuse", "park"]))
    def end_a_zombie(self, pick: int, how: str) -> None:
        execution = one_of(self._all_running(live=False), pick)
        if execution is not None:
            self._note(execution, how)
            execution.end.set_result(how)
            self.run(asyncio.sleep(0))

    @sensible(lambda self: len(self.hosts) < MOST_WORKERS)
    @rule()
    def start_a_worker(self) -> None:
        if len(self.hosts) < MOST_WORKERS:
            self.run(self._start())

    @sensible(lambda self: sum(host.live for host in self.hosts) > 1)
    @rule(pick=numbers)
    def freeze(self, pick: int) -> None:
        live = [host for host in self.hosts if host.live]
        if len(live) > 1:
            self.run(self._freeze(live[pick % len(live)]))

    async def _freeze(self, host: Host) -> None:
        for call in self.calls:
            call.lost += sum(one.host is host for one in self._running(call))
        host.cut = AsyncExitStack()
        await host.cut.enter_async_context(self.backend.cut(host.broker))

        async def away() -> bool:
            return not host.broker.connected

        await self._until(away)

    @sensible(lambda self: any(host.cut and not host.dead for host in self.hosts))
    @rule(pick=numbers)
    def thaw(self, pick: int) -> None:
        host = one_of([one for one in self.hosts if one.cut is not None and not one.dead], pick)
        if host is not None:
            self.run(self._thaw(host))

    async def _thaw(self, host: Host) -> None:
        if host.cut is None or host.dead:
            return
        for call in self.calls:
            call.may_double |= any(one.host is host for one in self._running(call))
        cut, host.cut = host.cut, None
        await cut.aclose()

        async def back() -> bool:
            return host.broker.connected

        await self._until(back)

    @sensible(lambda self: sum(host.live for host in self.hosts) > 1)
    @rule(pick=numbers)
    def kill(self, pick: int) -> None:
        live = [host for host in self.hosts if host.live]
        if len(live) > 1:
            self.run(self._kill(live[pick % len(live)]))

    async def _kill(self, host: Host) -> None:
        """Cut it for ever, then end what it does: nothing of that reaches the broker."""
        await self._freeze(host)
        host.dead = True
        if isinstance(host.broker, MemoryBroker):
            host.broker.kill()
        for call in self.calls:
            for execution in call.executions:
                if execution.host is host:
                    execution.over = True

    @sensible(lambda self: self.open_calls and any(not host.live for host in self.hosts))
    @rule()
    def others_take_over(self) -> None:
        self.run(self._until(self._all_at_work))

    async def _all_at_work(self) -> bool:
        """Whether every open call is executed by somebody who lives, or parked."""
        for call in self.calls:
            if await self._look(call) is not None:
                continue
            if any(one.host.live for one in self._running(call)):
                continue
            if not await self.space.parking.get(call.request.run, call.request.step):
                return False
        return True

    # -- always --------------------------------------------------------------------------------

    @invariant()
    def the_first_result_stands_for_all(self) -> None:
        if self.hosts:
            self.run(self._compare())

    async def _compare(self) -> None:
        for call in self.calls:
            subject = self.names.result(AGENT, call.request.run, call.request.step)
            records = await self.broker.read(self.names.stream(RESULTS), subject)
            found = [(record.sequence, record.data) for record in records]
            assert len(found) <= 1
            if call.record is not None:
                assert found == [call.record], "a result was replaced or lost"
            elif found:
                call.record = found[0]
            for waiter in call.waiters:
                if waiter.done():
                    assert found
                    assert waiter.result().id == msgspec.json.decode(found[0][1])["id"]
            self._compare_attempts(call)
        assert self.wrong == []

    def _compare_attempts(self, call: Call) -> None:
        """No execution is beyond the policy, unless those before it died or were frozen.

        Two publications of one call count their deliveries apart and what became of them together,
        so an execution of the one may be taken for a lost one of the other, and excused.
        """
        most = POLICY.max_attempts * (2 if call.may_double else 1) + call.lost
        for one in call.executions:
            assert one.attempt - one.parks <= most, call.executions
