"""Errors of calls to agents, and of runs."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from .base import AixgoError


class CallError(AixgoError):
    """A call to an agent failed."""

    code = "call"


class UnknownAgent(CallError):
    """No agent of that name."""

    code = "unknown_agent"

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        near = difflib.get_close_matches(name[:100], known, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        super().__init__(
            f"no agent named {name!r}{meant} (agents here: {', '.join(sorted(known)) or 'none'})"
        )


class InvalidPayload(CallError):
    """The message does not fit the handler's type, or its reply the declared result."""

    code = "invalid_payload"


class NotSupported(CallError):
    """The agent's style cannot do this; a producer, for example, cannot be called."""

    code = "not_supported"


class NotReady(CallError):
    """The agent has not finished starting."""

    code = "not_ready"
    retryable = True


class DeadlineExceeded(CallError):
    """The call's deadline passed."""

    code = "deadline_exceeded"


class Refused(CallError):
    """A hook, a guard or a person does not want a step, or the agent's message or answer.

    A handler that lets it pass ends with a result that says so, not with an error: the `reason` as
    its data, and `refused` in its metadata.

    Attributes:
        reason: why, for people and models.
        hook: which hook refused it; empty when the handler did.
        point: where, such as `before_tool`; empty when the handler did.
    """

    code = "refused"

    def __init__(self, reason: str, *, hook: str = "", point: str = "") -> None:
        self.reason, self.hook, self.point = reason, hook, point
        super().__init__(f"refused: {reason}")

    @property
    def facts(self) -> dict[str, str]:
        """What the metadata of the result says."""
        return {"reason": self.reason, "hook": self.hook, "point": self.point}


class Cancelled(CallError):
    """The run was cancelled."""

    code = "cancelled"


class DepthExceeded(CallError):
    """Calls nest deeper than the limit."""

    code = "depth_exceeded"


class AgentTimeout(CallError):
    """An execution took longer than the agent's own `timeout`.

    Attributes:
        waited_for: the steps that had no result then, such as `'desk/1' of agent 'desk'`.
    """

    code = "agent_timeout"
    retryable = True

    def __init__(self, agent: str, seconds: float, waited_for: str = "") -> None:
        self.agent, self.seconds, self.waited_for = agent, seconds, waited_for
        waited = f" and waited for {waited_for}" if waited_for else ""
        super().__init__(
            f"agent {agent!r} did not finish within its own {seconds:g} s{waited}; raise its "
            "`timeout`, or divide the work into smaller calls"
        )


class ProcessDied(CallError):
    """Process after process ended with the call at work."""

    code = "process_died"

    def __init__(self, agent: str, deaths: int) -> None:
        self.agent, self.deaths = agent, deaths
        super().__init__(
            f"{deaths} processes of agent {agent!r} ended with this call at work, one after the "
            "other and without a new finished step (`retry.max_deaths`); look at what the message "
            "does to them (memory? `os._exit`?) before you send it again"
        )


class EffectsRepeated(CallError):
    """A fork would do again what must not be done twice."""

    code = "effects_repeated"
    SHOWN = 5

    def __init__(self, run_id: str, step: str, repeated: Sequence[str]) -> None:
        self.run_id, self.step, self.repeated = run_id, step, tuple(repeated)
        shown = ", ".join(map(repr, repeated[: self.SHOWN]))
        more = f" and {len(repeated) - self.SHOWN} more" if len(repeated) > self.SHOWN else ""
        where = f"from step {step!r}" if step else "from the beginning"
        super().__init__(
            f"a fork of run {run_id} {where} would execute tools again that must not be executed "
            f"twice (`effect: once`): {shown}{more}; fork from a later step, or say that this is "
            "meant (`repeat_effects=True`, on the command line --repeat-effects)"
        )


class HandlerExited(CallError):
    """A handler tried to end its process."""

    code = "handler_exited"

    def __init__(self, agent: str, error: SystemExit | KeyboardInterrupt) -> None:
        self.agent, self.status = agent, getattr(error, "code", None)
        super().__init__(
            f"the handler of agent {agent!r} raised {error!r}, which would end the process and "
            "everything else in it; return a value, or raise another error"
        )


class ParkSwallowed(CallError):
    """A handler caught the signal that its call is parked, and went on."""

    code = "park_swallowed"

    def __init__(self, agent: str, waits_for: str) -> None:
        self.agent, self.waits_for = agent, waits_for
        super().__init__(
            f"the handler of agent {agent!r} went on although it waits for {waits_for}: it caught "
            "`Parked`, which ends an execution until the wait is over. Use `except Exception` "
            "instead of `except BaseException`, and `ctx.gather` instead of "
            "`asyncio.gather(return_exceptions=True)`"
        )


class NoDeadLetter(CallError):
    """The DLQ has no entry of that number."""

    code = "no_dead_letter"

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(
            f"there is no dead letter {number}; `aixgo dlq ls` lists the existing ones"
        )


class NoRun(CallError):
    """Nothing is recorded of a run."""

    code = "no_run"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"nothing is recorded of run {run_id!r}; check the id and the namespace with "
            "`aixgo runs ls`. Results of finished runs are kept for a limited time (`retention`)"
        )


class NoStep(CallError):
    """A run has no step of that path."""

    code = "no_step"
    SHOWN = 20
    """Steps in the message."""

    def __init__(self, run_id: str, step: str, steps: Sequence[str]) -> None:
        self.run_id, self.step, self.steps = run_id, step, steps
        shown = ", ".join(steps[: self.SHOWN]) + "…" * (len(steps) > self.SHOWN)
        super().__init__(f"run {run_id} has no step {step!r}; it has: {shown or 'none yet'}")


class NoQuestion(CallError):
    """A run has no open question, or it has several and none was named."""

    code = "no_question"

    def __init__(self, run_id: str, steps: list[str], step: str = "") -> None:
        self.run_id, self.steps, self.step = run_id, steps, step
        if not steps:
            text = (
                f"run {run_id} has no open question; it was answered already, or the run has "
                "finished or was cancelled"
            )
        elif step:
            text = f"run {run_id} asks nothing at step {step!r}; it asks at: {', '.join(steps)}"
        else:
            text = (
                f"run {run_id} asks {len(steps)} questions at once; name one by its step: "
                f"{', '.join(steps)}"
            )
        super().__init__(text)


class TooFewResults(CallError):
    """So many steps of a gather failed that the needed number of results is out of reach."""

    code = "too_few_results"


class TokensExceeded(CallError):
    """A run used more tokens than its limit."""

    code = "tokens_exceeded"


class ReplayMismatch(CallError):
    """A repeated execution asked for a step that differs from the recorded one.

    Attributes:
        run_id: of the run.
        agent: whose handler changed.
        step: path of the step.
        recorded: what the run has recorded of it.
        asked: what the handler asks now.
    """

    code = "replay_mismatch"

    def __init__(self, *, run_id: str, agent: str, step: str, recorded: str, asked: str) -> None:
        self.run_id, self.agent, self.step = run_id, agent, step
        self.recorded, self.asked = recorded, asked
        super().__init__(
            f"step {step!r} of run {run_id}: {recorded} is recorded, but agent {agent!r} now asks "
            f"{asked}. Its code, prompt or model changed while the run was going on. Finish the "
            "run on the version that began it; or start it again, as a new run or with "
            f"`aixgo runs fork {run_id} --from {step}`; or let it skip the change, with "
            "`ctx.version` where the handler changed or with a new `key` for the step"
        )


class SessionOfAnother(CallError):
    """A session was used for another user than the one whose it is.

    Attributes:
        agent, session: which conversation.
    """

    code = "session_of_another"

    def __init__(self, agent: str, session: str) -> None:
        self.agent, self.session = agent, session
        super().__init__(
            f"session {session!r} of agent {agent!r} belongs to another user; name a session of "
            "this user's own, or the `user` with which this one began"
        )


class SessionChanged(CallError):
    """The conversation that a run saw first is no longer there: it was removed, or expired.

    Attributes:
        run_id: of the run.
        agent, session: which conversation.
    """

    code = "session_changed"

    def __init__(self, run_id: str, agent: str, session: str) -> None:
        self.run_id, self.agent, self.session = run_id, agent, session
        super().__init__(
            f"run {run_id} saw entries of session {session!r} of agent {agent!r} that are gone: "
            "the session was removed or has expired meanwhile. Start the run again as a new one"
        )


class NoSession(CallError):
    """There is no such conversation, or no such entry in it.

    Attributes:
        agent, session: which conversation.
    """

    code = "no_session"

    def __init__(self, agent: str, session: str, entry: str = "") -> None:
        self.agent, self.session = agent, session
        where = f"agent {agent!r} has no session {session!r}"
        if entry:
            where = f"session {session!r} of agent {agent!r} has no entry or checkpoint {entry!r}"
        super().__init__(
            f"{where} (any more); `aixgo sessions "
            + (f"show {agent} {session}` shows what it has" if entry else "ls` lists those there")
        )


class SessionExists(CallError):
    """A fork would be added to a conversation that is there already.

    Attributes:
        agent, session: which conversation.
    """

    code = "session_exists"

    def __init__(self, agent: str, session: str) -> None:
        self.agent, self.session = agent, session
        super().__init__(
            f"agent {agent!r} has a session {session!r} already; choose another name for the fork, "
            "or remove that one first"
        )


class InboxFull(CallError):
    """An inbox is at its limit."""

    code = "inbox_full"
    retryable = True


class RemoteError(CallError):
    """The called agent failed.

    Attributes:
        agent: the agent that failed.
        cause: `code` of the original error, such as `invalid_payload`.
        attempts: executions before it was given up.
    """

    code = "remote"

    def __init__(self, message: str, *, agent: str, cause: str, attempts: int = 1) -> None:
        self.agent, self.cause, self.attempts = agent, cause, attempts
        super().__init__(message)
