"""Steps side by side: all of them, or the first few; which ones counted is decided once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec

from aixgo.calls.parking import Parked
from aixgo.errors import BrokerError, ConfigError, ReplayMismatch, TooFewResults
from aixgo.steps.execution import Execution
from aixgo.steps.scopes import Scope, branch


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a gather came to: the branches that counted, or the one whose failure ended it."""

    won: tuple[int, ...] = ()
    failed: int = -1

    @property
    def counted(self) -> tuple[int, ...]:
        """The branches whose outcome is the gather's."""
        return self.won if self.failed < 0 else (self.failed,)


class Gather:
    """One gather of a handler.

    Args:
        need: results that are enough; the others are cancelled then.
    """

    def __init__(
        self, ctx: Execution, path: str, steps: Sequence[Awaitable[Any]], need: int
    ) -> None:
        if not 1 <= need <= len(steps):
            _close(steps)
            raise ConfigError(
                f"gather {path!r} needs {need} of {len(steps)} steps; `need` must be from 1 to the "
                "number of steps"
            )
        self._ctx, self._path, self._steps, self._need = ctx, path, steps, need
        self._scopes = [Scope(ctx, f"{path}/{index}") for index in range(len(steps))]
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._undecided = False

    async def run(self) -> dict[int, Any]:
        """Return the results that counted, by index.

        Raises:
            TooFewResults: so many failed that `need` cannot be reached.
            AixgoError: all were needed and one failed.
            Parked: what is still needed waits for a person or a timer.
        """
        try:
            decision = await self._ctx.decided(self._path, Decision)
            wanted = range(len(self._steps)) if decision is None else decision.counted
            if decision is not None and max(wanted) >= len(self._steps):
                raise ReplayMismatch(
                    run_id=self._ctx.run_id,
                    agent=self._ctx.agent,
                    step=self._path,
                    recorded=f"that branch {max(wanted)} counted",
                    asked=f"for a gather of {len(self._steps)} branches",
                )
            for index in wanted:
                self._tasks[index] = asyncio.create_task(
                    self._branch(index), name=f"{self._path}/{index}"
                )
            if decision is None:
                decision = await self._decide()
            await asyncio.wait([self._tasks[index] for index in decision.counted])
            if decision.failed >= 0 and _error(self._tasks[decision.failed]) is None:
                raise ReplayMismatch(
                    run_id=self._ctx.run_id,
                    agent=self._ctx.agent,
                    step=self._path,
                    recorded=f"that branch {decision.failed} failed",
                    asked="for a branch that succeeds (keep randomness, clocks and I/O in steps)",
                )
            return {index: self._tasks[index].result() for index in decision.counted}
        finally:
            await self._drop_the_rest()

    async def _branch(self, index: int) -> Any:
        branch.set(self._scopes[index])
        return await self._steps[index]

    async def _decide(self) -> Decision:
        """Wait until enough branches have ended, and record which ones counted."""
        waiting = set(self._tasks.values())
        while waiting:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            ended = {i: task for i, task in self._tasks.items() if task not in waiting}
            won = [i for i, task in ended.items() if _error(task) is None]
            failed = [i for i, task in ended.items() if isinstance(_error(task), Exception)]
            if len(won) >= self._need:
                if self._need == len(self._tasks):  # nothing to choose, so nothing to record
                    return Decision(won=tuple(sorted(won)))
                return await self._ctx.decide(
                    self._path, Decision(won=tuple(sorted(won[: self._need])))
                )
            if len(self._tasks) - len(failed) < self._need:
                return await self._give_up(failed)
        errors = [_error(task) for task in self._tasks.values()]
        parked = [error for error in errors if isinstance(error, Parked)]
        if parked:
            raise self._ctx.parked(Parked.together(parked))
        raise next(error for error in errors if error is not None)

    async def _give_up(self, failed: list[int]) -> Decision:
        errors = {index: _error(self._tasks[index]) for index in failed}
        final = [index for index, error in errors.items() if error and not _may_pass(error)]
        if len(self._tasks) - len(final) >= self._need:
            # the broker was away, which is not an outcome of a step: nothing is decided, and the
            # others go on until the handler runs again
            self._undecided = True
            raise next(error for index, error in errors.items() if error and index not in final)
        if self._need == len(self._tasks):
            return await self._ctx.decide(self._path, Decision(failed=min(final)))
        first = errors[min(failed)]
        raise TooFewResults(
            f"{len(failed)} of {len(self._tasks)} steps of {self._path!r} failed, so {self._need} "
            f"results cannot be reached; the first: {first}"
        )

    async def _drop_the_rest(self) -> None:
        """Cancel what still runs, down to the agents that work on it."""
        running = {i: task for i, task in self._tasks.items() if not task.done()}
        current = asyncio.current_task()
        stopping = self._undecided or (current is not None and current.cancelling() > 0)
        for index, task in running.items():
            self._scopes[index].dropped = not stopping  # a process that stops only hands over
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for task in self._tasks.values():
            self._ctx.excuse(_error(task))  # the gather itself waits, or does without it
        _close(self._steps)  # those that never had a turn


def _error(task: asyncio.Task[Any]) -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.exception()


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, BrokerError) and error.retryable


def _close(steps: Sequence[Awaitable[Any]]) -> None:
    """Say that coroutines will never run, so that Python does not warn of them."""
    for step in steps:
        if inspect.iscoroutine(step):
            step.close()
