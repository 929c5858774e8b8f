"""`Runs`: the runs of a namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aixgo.calls.caller import Caller
from aixgo.calls.history import Happened
from aixgo.clock import now
from aixgo.envelope import NO_USAGE, Envelope
from aixgo.errors import BlobMissing, NoRun, NoStep
from aixgo.payloads import to_payload
from aixgo.runs.fork import Fork, find_origin, fork, input_of
from aixgo.runs.records import SCANNED, Key, Open, OpenCalls
from aixgo.runs.shapes import LIVE, Run, RunStatus, RunTree, Step
from aixgo.runs.tree import steps_of
from aixgo.subjects import RESULTS, token

FIRST_WINDOW = 256
"""Sequences of RESULTS that the first look backwards spans; each next one spans twice as many."""

_PLAUSIBLE_SECONDS = 366 * 86_400.0
"""Few runs live for longer, so an id that says so was chosen by a caller."""

_FORK_TIMEOUT = 300.0
"""Seconds that a fork has when nothing is said, as for any call."""


class Runs:
    """The runs of a namespace (`Client.runs`).

    Args:
        source: name of the caller in the calls of forks.
    """

    def __init__(self, caller: Caller, *, source: str = "client") -> None:
        self._caller, self._space, self._source = caller, caller.space, source
        self._broker, self._names = caller.space.broker, caller.space.names
        self._open = OpenCalls(caller.space)

    async def list(self, limit: int = 50, status: RunStatus | None = None) -> Sequence[Run]:
        """Return runs that a call began, the newest first.

        Args:
            limit: at most so many.
            status: only those, as far as the newest 10,000 records tell.

        Raises:
            StreamNotFound: the namespace is not provisioned.
        """
        # in this order, so that a run which ends in between is not missed
        found = await self._unfinished(limit, status)
        if status not in LIVE:
            found |= await self._finished(limit, status)
        return sorted(found.values(), key=lambda run: run.started, reverse=True)[:limit]

    async def tree(self, run: str, *, whole: bool = False) -> RunTree:
        """Return everything that is known of a run: its steps, and what happened to them.

        Args:
            whole: read also the values of steps that lie in the object store, of any size.

        Raises:
            NoRun: nothing is known of it.
        """
        token(run, "run")
        open_calls = await self._open.of_run(run)
        history = await self.history(run)
        results = [*(await self._space.results.of_run(run)).values()]
        if not (results or open_calls or history):
            raise NoRun(run)
        if whole:
            results = [await self._whole(result) for result in results]
        steps = steps_of(results, open_calls, history)
        moments = [result.sent_at - result.seconds for result in results]
        moments += [call.request.sent_at for call in open_calls.values()]
        moments += [record.at for record in history]
        status = _status(steps)
        ended = max((result.sent_at for result in results), default=0.0)
        began = started(run, min(moments))
        agent = steps[0].agent if steps and not steps[0].path else ""
        return RunTree(
            run_id=run,
            agent=agent,
            status=status,
            started=began,
            seconds=max(0.0, (now() if status in LIVE else ended) - began),
            usage=sum((step.usage for step in steps), NO_USAGE),
            steps=steps,
            history=tuple(history),
            input=await self._input(agent, run, open_calls) if agent else msgspec.UNSET,
        )

    async def history(self, run: str) -> Sequence[Happened]:
        """Return what happened in a run besides its results, oldest first.

        That is: executions that failed, parking, dead letters, replays, cancels, forks. Written
        without waiting for the broker's word, so a record can be missing after a lost connection.
        """
        return await self._space.history.of_run(run)

    async def fork(
        self,
        run: str,
        step: str = "",
        *,
        data: Any = msgspec.UNSET,
        prompt: str = "",
        model: str = "",
        timeout: float = _FORK_TIMEOUT,
        repeat_effects: bool = False,
    ) -> tuple[str, str]:
        """Begin a new run that takes over what a run had recorded before a step.

        The steps before it return their recorded results and are not paid again; the step itself,
        what is below it and what came after it are executed, with the prompts, models and code
        that agents have now. A reused step whose request is not the recorded one, because it
        depends on other input or on changed code, ends the new run with `ReplayMismatch`.

        Args:
            step: path of the step; empty to do the whole run again.
            data: input of the new run. Without it the run's own one, which is known unless the run
                is over and took no step, was cancelled or expired.
            prompt: system prompt for the agent that the step belongs to, instead of its own, in
                every model call from the step on. Words that a handler puts into a system message
                by itself stay, except in a model call that is just this step.
            model: `provider/model` for the same agent, instead of its own, from the step on.
            timeout: seconds for the new run.
            repeat_effects: execute again also what must not be executed twice: tools with
                `effect="once"` that took place, or may have, from the step on.

        Returns:
            Agent and run id of the new run.

        Raises:
            NoRun: nothing is known of the run.
            NotSupported: an event began it, or its own call is no longer known.
            NoStep: it has no such step.
            InvalidPayload: `data` is needed, or cannot be sent.
            EffectsRepeated: it would do again what must not be done twice.
            ConfigError: the model or the timeout cannot be.
        """
        made = Fork(
            step=step,
            payload=None if data is msgspec.UNSET else to_payload(data),
            prompt=prompt,
            model=model,
            timeout=timeout,
            source=self._source,
            repeat_effects=repeat_effects,
        )
        made.check()
        tree = await self.tree(run)
        tree.check_own_call()
        known = [one.path for one in tree.walk()]
        if step not in known:
            raise NoStep(run, step, [path for path in known if path])
        return await fork(self._caller, await self._open.of_run(run), tree, made)

    async def _whole(self, result: Envelope) -> Envelope:
        """Return a result with its value, unless the object store forgot it."""
        if result.blob is None:
            return result
        try:
            return await self._space.payloads.fetch(result)
        except BlobMissing:
            return result

    async def _input(self, agent: str, run: str, open_calls: Mapping[Key, Open]) -> Any:
        origin = await find_origin(self._space, open_calls, agent, run)
        if origin is None:
            return msgspec.UNSET
        try:
            return msgspec.json.decode(await input_of(self._space, origin))
        except BlobMissing:
            return msgspec.UNSET

    # -- the parts of a list -------------------------------------------------------------------

    async def _unfinished(self, limit: int, status: RunStatus | None) -> dict[str, Run]:
        """Return the newest runs that are not over."""
        runs = [_open_run(call) for call in (await self._open.roots()).values()]
        found: dict[str, Run] = {}
        for run in sorted(runs, key=lambda run: run.started, reverse=True):
            if len(found) == limit:
                break
            if status not in (None, run.status):
                continue
            # its timer may be all that is left of a run that is over
            if not await self._space.results.stands(run.agent, run.run_id, ""):
                found[run.run_id] = run
        return found

    async def _finished(self, limit: int, status: RunStatus | None) -> dict[str, Run]:
        """Return the runs that ended last, reading backwards in growing windows."""
        stream = self._names.stream(RESULTS)
        info = await self._broker.stream_info(stream)
        found: dict[str, Run] = {}
        if info is None:
            return found
        end, width, seen = info.last_sequence + 1, FIRST_WINDOW, 0
        while end > max(info.first_sequence, 1) and len(found) < limit and seen < SCANNED:
            begin = max(info.first_sequence, end - width, 1)
            records = await self._broker.read(
                stream, self._names.root_results, start=begin, limit=SCANNED
            )
            for record in reversed(records):
                if record.sequence >= end or len(found) == limit:
                    continue
                result = self._space.results.of(record)
                if result is None:
                    continue
                run = _ended_run(result)
                if status in (None, run.status):
                    found[run.run_id] = run
            end, width, seen = begin, width * 2, seen + len(records)
        return found


def started(run: str, earliest: float) -> float:
    """Return Unix seconds of a run's start: its id says it, unless a caller chose the id.

    Args:
        earliest: Unix seconds of the first thing that is known of the run.
    """
    if len(run) == 32 and run[12] == "7" and not set(run) - set("0123456789abcdef"):
        moment = int(run[:12], 16) / 1000
        if 0 <= earliest - moment < _PLAUSIBLE_SECONDS:
            return moment
    return earliest


def _open_run(call: Open) -> Run:
    request = call.request
    began = started(request.run, request.sent_at)
    return Run(
        run_id=request.run,
        agent=request.target,
        status=call.status,
        started=began,
        seconds=max(0.0, now() - began),
        usage=NO_USAGE,
    )


def _ended_run(result: Envelope) -> Run:
    began = started(result.run, result.sent_at - result.seconds)
    return Run(
        run_id=result.run,
        agent=result.source,
        status=result.status or "done",
        started=began,
        seconds=max(0.0, result.sent_at - began),
        usage=result.usage or NO_USAGE,
    )


_WORST_LAST: tuple[RunStatus, ...] = (
    "done",
    "cancelled",
    "expired",
    "error",
    "queued",
    "parked",
    "running",
)


def _status(steps: Sequence[Step]) -> RunStatus:
    """Return the status of a run: of its own call, or of what the subscribers of an event did."""
    if not steps:
        return "running"  # only its history is known yet
    return max((step.status for step in steps), key=_WORST_LAST.index)
