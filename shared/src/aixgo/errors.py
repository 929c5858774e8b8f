"""Every error that Aixgo raises, as one tree.

    AixgoError
    ├── ConfigError                     what people wrote is wrong; the CLI exits 2
    │   ├── InvalidDocument             a document; carries each finding with its line and column
    │   ├── UnknownRole                 no installed package offers the role
    │   ├── UnknownProvider             no such model provider
    │   ├── MissingKey                  a provider needs an environment variable
    │   └── MissingExtra                an optional dependency is not installed
    ├── BrokerError
    │   ├── Unreachable                 nobody answers at the address
    │   ├── AuthenticationFailed        wrong user, password or key
    │   ├── ServerTooOld                nats-server below the supported version
    │   ├── JetStreamDisabled           the server keeps no streams
    │   ├── PermissionDenied            the server refuses the subject to this user
    │   ├── ConnectionClosed            this connection was closed for good
    │   ├── Disconnected        (retry) the connection is down at this moment
    │   ├── NoResponders        (retry) nobody listens on the subject
    │   ├── RequestTimeout      (retry) no answer in time
    │   ├── BadSubject                  a subject or token breaks the rules
    │   ├── BadHeader                   a header key or value breaks the rules
    │   ├── PayloadTooLarge             over the broker's message limit
    │   │   └── BodyTooLarge            over what the object store carries
    │   ├── StreamNotFound              the stream is not provisioned
    │   ├── ConsumerNotFound            the consumer is not provisioned
    │   ├── ConsumerConflict            filters overlap, or the declaration differs
    │   ├── StreamFull          (retry) backpressure: the stream is at its limit
    │   ├── WrongSequence               compare-and-set lost
    │   ├── StreamRefused               the stream refuses the message (TTL, size, other stream)
    │   ├── BlobMissing                 the object store does not have the object (any more)
    │   └── BlobCorrupt                 an object's size or digest is not what was put
    ├── CallError
    │   ├── UnknownAgent                no agent of that name is served here
    │   ├── InvalidPayload              the message does not fit the handler's type
    │   ├── NotSupported                the agent's style cannot do this (execute on a producer)
    │   ├── NotReady            (retry) the agent has not finished starting
    │   ├── DeadlineExceeded            the call's deadline passed
    │   ├── Cancelled                   somebody cancelled the run
    │   ├── DepthExceeded               calls nest deeper than the limit
    │   ├── AgentTimeout        (retry) an execution took longer than the agent's own `timeout`
    │   ├── Abandoned                   every worker that took the call ended without an answer
    │   ├── NoDeadLetter                the DLQ has no entry of that number
    │   ├── NoRun                       nothing is recorded of a run
    │   ├── NoStep                      a run has no step of that path
    │   ├── NoQuestion                  a run asks no person anything, or several things
    │   ├── TooFewResults               so many steps of a gather failed that `need` is out of reach
    │   ├── TokensExceeded              a run used more tokens than its limit
    │   ├── ReplayMismatch              changed code does not fit what was recorded
    │   ├── InboxFull           (retry) an inbox is at its limit
    │   └── RemoteError                 the called agent failed; carries its code and cause
    ├── PatternError
    │   ├── StepFailed                  step i of a sequence failed
    │   ├── ClassificationFailed        the router's classifier failed or gave no category
    │   ├── NoRoute                     no route for the category and no fallback
    │   └── RouteFailed                 the agent that the router chose failed
    ├── ToolError
    │   ├── UnknownTool                 the agent has no tool of that name
    │   ├── ToolNotDone         (retry) the tool itself says that nothing happened
    │   ├── ToolTimeout         (retry) an execution of a tool took longer than its `timeout`
    │   └── ToolFailed                  a tool failed for good; the failure is recorded
    └── ModelError
        ├── RateLimited         (retry) 429; carries retry_after
        ├── ModelUnavailable    (retry) 5xx, connection refused or lost
        ├── ModelTimeout        (retry) no answer in time
        ├── ModelAuthFailed             401, 403, 402
        ├── ModelNotFound               404
        ├── BadModelRequest             other 4xx: the request itself is wrong
        ├── ContextTooLong              the prompt does not fit the model
        ├── ContentRefused              the provider's content policy
        ├── UnsupportedByModel          this provider or model cannot do that
        ├── BadModelAnswer      (retry) the answer could not be read or fails its schema
        └── ScriptExhausted             a scripted model was asked once too often

`retryable` says whether doing the same again may help; `code` is the stable name that travels in
envelopes, metrics and `retry_on`. Facts are attributes, so no caller parses a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class AixgoError(Exception):
    """Base of every error; the message says what, the value, the limit with its unit, the fix."""

    code: ClassVar[str] = "error"
    retryable: bool = False


# -- configuration -------------------------------------------------------------------------------


class ConfigError(AixgoError):
    """What people wrote is wrong: a document, an option, an environment variable."""

    code = "config"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong in a document.

    Attributes:
        path: of the key inside the document, such as `agents.1.retry.max_attempts`.
        line, column: from 1.
        message: what is wrong, the value, and the fix.
    """

    path: str
    line: int
    column: int
    message: str


class InvalidDocument(ConfigError):
    """A configuration document is wrong: one line for each finding, `file:line:column: …`.

    Attributes:
        source: name of the file.
        findings: in the order of the document.
    """

    code = "invalid_document"
    SHOWN = 20
    """Findings in the message; the first ones are the causes, and a screen holds no more."""

    def __init__(self, source: str, findings: Sequence[Finding]) -> None:
        self.source, self.findings = source, tuple(findings)
        lines = [
            f"{source}:{found.line}:{found.column}: "
            + (f"{found.path}: " if found.path else "")
            + found.message
            for found in self.findings[: self.SHOWN]
        ]
        if len(self.findings) > self.SHOWN:
            lines.append(f"{source}: and {len(self.findings) - self.SHOWN} more")
        super().__init__("\n".join(lines))


class UnknownRole(ConfigError):
    """No installed package offers the role."""

    code = "unknown_role"

    def __init__(self, role: str, known: list[str]) -> None:
        self.role, self.known = role, known
        super().__init__(
            f"unknown role {role!r}; installed roles: {', '.join(known) or 'none'}. Install "
            "the package that offers it "
            f"(entry point group 'aixgo.roles'), or give the agent a handler"
        )


class UnknownProvider(ConfigError):
    """The text before the first '/' of a model name is no known provider."""

    code = "unknown_provider"

    def __init__(self, provider: str, known: list[str]) -> None:
        self.provider, self.known = provider, known
        super().__init__(
            f"unknown model provider {provider!r}; known providers: {', '.join(known)}. Model "
            "names are "
            f"'provider/model', for example 'local/smollm2' or 'openai/gpt-4o'"
        )


class MissingKey(ConfigError):
    """A provider's key or setting is not there; names the variables that would give it."""

    code = "missing_key"

    def __init__(self, provider: str, variables: list[str], what: str = "an API key") -> None:
        self.provider, self.variables = provider, variables
        super().__init__(
            f"provider {provider!r} needs {what}: set {' or '.join(variables)} in the model "
            "gateway's environment"
        )


class MissingExtra(ConfigError):
    """An optional dependency is not installed; names the extra."""

    code = "missing_extra"

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs an optional dependency: pip install 'aixgo[{extra}]'")


# -- broker --------------------------------------------------------------------------------------


class BrokerError(AixgoError):
    """Something between this process and the broker."""

    code = "broker"


class Unreachable(BrokerError):
    """Nobody answers at the broker's address."""

    code = "unreachable"


class AuthenticationFailed(BrokerError):
    """The broker refuses the credentials."""

    code = "authentication_failed"


class ServerTooOld(BrokerError):
    """The nats-server lacks features that Aixgo's promises need."""

    code = "server_too_old"


class JetStreamDisabled(BrokerError):
    """The server runs without JetStream, so it keeps no streams."""

    code = "jetstream_disabled"


class PermissionDenied(BrokerError):
    """The server refuses this user the subject."""

    code = "permission_denied"


class ConnectionClosed(BrokerError):
    """The connection was closed for good, by this process or by the server."""

    code = "connection_closed"


class Disconnected(BrokerError):
    """The connection is down at this moment; it is being restored."""

    code = "disconnected"
    retryable = True


class NoResponders(BrokerError):
    """Nobody listens on the subject."""

    code = "no_responders"
    retryable = True


class RequestTimeout(BrokerError):
    """The broker or a responder did not answer in time."""

    code = "request_timeout"
    retryable = True


class BadSubject(BrokerError):
    """A subject or a token breaks the rules of `subjects.md`."""

    code = "bad_subject"


class BadHeader(BrokerError):
    """A header key or value cannot be sent."""

    code = "bad_header"


class PayloadTooLarge(BrokerError):
    """A message is over the broker's limit."""

    code = "payload_too_large"

    def __init__(self, subject: str, size: int, limit: int) -> None:
        self.subject, self.size, self.limit = subject, size, limit
        super().__init__(
            f"message for {subject!r} is {size:,} bytes with its headers, over the broker's "
            f"{limit:,} bytes; "
            "put the body in the object store and send its key (subjects.md, 'Large bodies')"
        )


class BodyTooLarge(PayloadTooLarge):
    """A payload is over what even the object store carries."""

    code = "body_too_large"

    def __init__(self, what: str, size: int, limit: int) -> None:
        self.subject, self.size, self.limit = what, size, limit
        BrokerError.__init__(
            self,
            f"the payload of {what} is {size:,} bytes, over the limit of {limit:,} bytes; "
            "store it elsewhere, and send its address",
        )


class StreamNotFound(BrokerError):
    """The stream does not exist."""

    code = "stream_not_found"

    def __init__(self, stream: str) -> None:
        self.stream = stream
        super().__init__(
            f"stream {stream!r} does not exist on this broker; run `aixgo provision` against "
            "it once"
        )


class ConsumerNotFound(BrokerError):
    """The durable consumer does not exist."""

    code = "consumer_not_found"

    def __init__(self, stream: str, consumer: str) -> None:
        self.stream, self.consumer = stream, consumer
        super().__init__(
            f"consumer {consumer!r} of stream {stream!r} does not exist on this broker; run "
            "`aixgo provision` with the "
            "document that declares the agent"
        )


class ConsumerConflict(BrokerError):
    """A consumer cannot be declared so: filters overlap, or the stream forbids its policy."""

    code = "consumer_conflict"


class StreamFull(BrokerError):
    """Backpressure: the stream is at its limit and refuses new messages."""

    code = "stream_full"
    retryable = True


class WrongSequence(BrokerError):
    """Compare-and-set lost: another record is the newest."""

    code = "wrong_sequence"


class StreamRefused(BrokerError):
    """The stream refuses the message itself: its TTL, its size, or it expected another stream."""

    code = "stream_refused"


class BlobMissing(BrokerError):
    """The object store does not have the object, or not any more."""

    code = "blob_missing"


class BlobCorrupt(BrokerError):
    """The size or digest of a stored object is not what was put."""

    code = "blob_corrupt"


# -- calls ---------------------------------------------------------------------------------------


class CallError(AixgoError):
    """A call to an agent did not end well."""

    code = "call"


class UnknownAgent(CallError):
    """No agent of that name."""

    code = "unknown_agent"

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        super().__init__(
            f"no agent named {name!r}; agents here: {', '.join(sorted(known)) or 'none'}"
        )


class InvalidPayload(CallError):
    """The message does not fit the handler's type, or the reply not the declared result."""

    code = "invalid_payload"


class NotSupported(CallError):
    """The agent's style cannot do this, such as execute on a producer."""

    code = "not_supported"


class NotReady(CallError):
    """The agent has not finished starting."""

    code = "not_ready"
    retryable = True


class DeadlineExceeded(CallError):
    """The call's deadline passed."""

    code = "deadline_exceeded"


class Cancelled(CallError):
    """Somebody cancelled the run."""

    code = "cancelled"


class DepthExceeded(CallError):
    """Calls nest deeper than the limit."""

    code = "depth_exceeded"


class AgentTimeout(CallError):
    """An execution took longer than the agent's own `timeout`."""

    code = "agent_timeout"
    retryable = True

    def __init__(self, agent: str, seconds: float) -> None:
        self.agent, self.seconds = agent, seconds
        super().__init__(
            f"agent {agent!r} did not finish within its own {seconds:g} s; raise its `timeout`, or "
            "give it less to do at once"
        )


class Abandoned(CallError):
    """Every worker that took the call ended without an answer."""

    code = "abandoned"

    def __init__(self, agent: str, deliveries: int) -> None:
        self.agent, self.deliveries = agent, deliveries
        super().__init__(
            f"the call was given to agent {agent!r} {deliveries} times, and each time the process "
            "ended without an answer; look at what this message does to it (memory?) before you "
            "send it again"
        )


class NoDeadLetter(CallError):
    """The DLQ has no entry of that number."""

    code = "no_dead_letter"

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"there is no dead letter {number}; `aixgo dlq ls` lists those there are")


class NoRun(CallError):
    """Nothing is recorded of a run."""

    code = "no_run"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"nothing is recorded of run {run_id!r}: look at the id and the namespace, and at "
            "`aixgo runs ls`; results of finished runs are kept for a time (`retention`)"
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
    """A run asks nothing that could be answered, or several things."""

    code = "no_question"

    def __init__(self, run_id: str, steps: list[str]) -> None:
        self.run_id, self.steps = run_id, steps
        super().__init__(
            f"run {run_id} asks {len(steps)} questions at once; name one by its step: "
            f"{', '.join(steps)}"
            if steps
            else f"run {run_id} asks nothing that could be answered; it may have been answered, "
            "finished or cancelled"
        )


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
            f"step {step!r} of run {run_id}: recorded is {recorded}, but agent {agent!r} now asks "
            f"{asked}. Its code, prompt or model changed while the run was going on. Finish the "
            f"run on the version that began it; or start it again, `aixgo runs fork {run_id} "
            f"--from {step}` or as a new run; or let it skip the change: `ctx.version` where the "
            "handler changed, or a new `key` for the step"
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


# -- patterns ------------------------------------------------------------------------------------


class PatternError(AixgoError):
    """An orchestration pattern could not finish."""

    code = "pattern"


class StepFailed(PatternError):
    """A step of a sequence failed.

    Attributes:
        index: position of the step, from 0.
        agent: agent of the step.
        cause: `code` of the step's own error.
    """

    code = "step_failed"

    def __init__(self, index: int, agent: str, cause: str, text: str) -> None:
        self.index, self.agent, self.cause = index, agent, cause
        super().__init__(f"step {index} ({agent!r}) failed: {text}")


class ClassificationFailed(PatternError):
    """The router's classifier failed, or its answer has no category.

    Attributes:
        classifier: the agent that was asked.
        cause: `code` of its error, or `no_category`.
    """

    code = "classification_failed"

    def __init__(self, classifier: str, cause: str, text: str) -> None:
        self.classifier, self.cause = classifier, cause
        super().__init__(f"classifier {classifier!r} failed: {text}")


class NoRoute(PatternError):
    """No route for the category, and no fallback."""

    code = "no_route"

    def __init__(self, category: str, routes: list[str]) -> None:
        self.category, self.routes = category, routes
        super().__init__(
            f"no route for category {category!r}; routes: {', '.join(routes) or 'none'}. Add "
            "the route or a `fallback`"
        )


class RouteFailed(PatternError):
    """The agent that the router chose failed for good.

    Attributes:
        category: what the classifier said.
        agent: the routed agent.
        cause: `code` of its error.
    """

    code = "route_failed"

    def __init__(self, category: str, agent: str, cause: str, text: str) -> None:
        self.category, self.agent, self.cause = category, agent, cause
        super().__init__(f"agent {agent!r}, chosen for category {category!r}, failed: {text}")


# -- tools ---------------------------------------------------------------------------------------


class ToolError(AixgoError):
    """A tool could not be used, or failed."""

    code = "tool"


class UnknownTool(ToolError):
    """The agent has no tool of that name."""

    code = "unknown_tool"

    def __init__(self, name: str, agent: str, near: str) -> None:
        self.name, self.agent = name, agent
        near = near or "; it has no tools"
        super().__init__(
            f"agent {agent!r} has no tool {name!r}; give it one with "
            f"Agent({agent!r}, …, tools=[…]){near}"
        )


class ToolNotDone(ToolError):
    """Raised by a tool that knows that nothing happened: it may be executed again.

    Args:
        retryable: whether that may help; with False the step fails at once.
    """

    code = "tool_not_done"
    retryable = True

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        self.retryable = retryable
        super().__init__(message)


class ToolTimeout(ToolError):
    """An execution of a tool took longer than its `timeout`."""

    code = "tool_timeout"
    retryable = True

    def __init__(self, tool: str, seconds: float) -> None:
        self.tool, self.seconds = tool, seconds
        super().__init__(
            f"tool {tool!r} did not finish within {seconds:g} s; raise its `timeout`, or look at "
            "what it waits for"
        )


class ToolFailed(ToolError):
    """A tool failed for good; the failure is recorded, so the step fails again until a replay.

    Attributes:
        tool: name of the tool.
        cause: `code` of the original error, or the class name of a foreign one.
        attempts: executions before it was given up.
    """

    code = "tool_failed"

    def __init__(self, tool: str, cause: str, attempts: int, text: str) -> None:
        self.tool, self.cause, self.attempts = tool, cause, attempts
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(
            f"tool {tool!r} failed, executed {times}: {text}; mend the cause and let the run go on "
            "with `aixgo dlq replay`"
        )


# -- models --------------------------------------------------------------------------------------


class ModelError(AixgoError):
    """A model call failed.

    Attributes:
        status: HTTP status of the provider, or None when there was no answer.
        provider: provider of the model name.
        retry_after: seconds that the provider asks to wait, or None.
    """

    code = "model"

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.provider, self.status, self.retry_after = provider, status, retry_after
        super().__init__(message)


class RateLimited(ModelError):
    """The provider asks for fewer requests (429)."""

    code = "rate_limited"
    retryable = True


class ModelUnavailable(ModelError):
    """The provider is down, overloaded, or the connection was refused or lost."""

    code = "model_unavailable"
    retryable = True


class ModelTimeout(ModelError):
    """The provider did not answer in time."""

    code = "model_timeout"
    retryable = True


class ModelAuthFailed(ModelError):
    """The provider refuses the key, or the account cannot pay."""

    code = "model_auth_failed"


class ModelNotFound(ModelError):
    """The provider has no such model or path."""

    code = "model_not_found"


class BadModelRequest(ModelError):
    """The provider calls the request itself wrong."""

    code = "bad_model_request"


class ContextTooLong(BadModelRequest):
    """The prompt does not fit the model's context window."""

    code = "context_too_long"


class ContentRefused(BadModelRequest):
    """The provider's content policy refuses the prompt or the answer."""

    code = "content_refused"


class UnsupportedByModel(ModelError):
    """This provider or model cannot do that, such as embeddings on Anthropic."""

    code = "unsupported_by_model"


class BadModelAnswer(ModelError):
    """The provider's answer could not be read, or fails the schema that was asked for."""

    code = "bad_model_answer"
    retryable = True


class ScriptExhausted(ModelError):
    """A scripted model was asked more often than its script has answers."""

    code = "script_exhausted"


def _subclasses(cls: type[AixgoError]) -> list[type[AixgoError]]:
    found = [cls]
    for child in cls.__subclasses__():
        found += _subclasses(child)
    return found


def by_code() -> dict[str, type[AixgoError]]:
    """Return every error class of Aixgo by its `code`, for `retry_on` and for documentation."""
    return {cls.code: cls for cls in _subclasses(AixgoError)}


def code_of(error: BaseException) -> str:
    """Return the stable name of any exception: its `code`, or the class name of a foreign one."""
    if isinstance(error, AixgoError):
        return error.code
    if isinstance(error, TimeoutError):
        return "timeout"
    return type(error).__name__
