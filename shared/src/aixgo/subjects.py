"""Every subject, stream, bucket and consumer name of Aixgo, as functions of a namespace.

The catalogue for people is `subjects.md`; a test keeps the two equal. Only this module builds a
subject or takes one apart, and it checks every token, so what is handed in is never a wildcard.
Tokens are `[A-Za-z0-9_-]{1,32}`; the token after the verb is the owning agent, so permissions and
consumer filters fall out of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from aixgo.errors import BadSubject

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,32}")
_READABLE_STEP = re.compile(r"[A-Za-z0-9-]+(/[A-Za-z0-9-]+)*")
_STEP_SUBJECT = re.compile(
    r"(call|res|live\.res|run|tok|timer|wake)"
    r"\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]{1,32})"
)
_PLAIN_TAIL = re.compile(r"(?=.{1,256}\Z)[!-)+-\-/-=?-~]+(\.[!-)+-\-/-=?-~]+)*")
"""Up to 256 characters of ASCII in tokens, without wildcards: what every server takes."""
ROOT_STEP = "root"
"""Token of the run's own call, whose step path is empty."""


def checked_token(value: str, what: str = "token") -> str:
    """Return `value` if it can be one token of a subject; for what is seldom the same, as run ids.

    Raises:
        BadSubject: it cannot; says the rule.
    """
    if not _TOKEN.fullmatch(value):
        raise BadSubject(
            f"{what} {value!r} cannot be part of a subject: 1 to 32 characters of A-Z, a-z, "
            "0-9, '_' and '-'"
        )
    return value


token = lru_cache(maxsize=1024)(checked_token)
"""As `checked_token`, for what is mostly the same, as names of agents."""


def is_token(value: str) -> bool:
    """Whether a value can be one token of a subject."""
    return _TOKEN.fullmatch(value) is not None


@lru_cache(maxsize=4096)
def step_token(path: str) -> str:
    """Return the token of a step path: readable when it fits, else a digest; injective.

    `/` becomes `_`, which a readable path does not contain; a digest begins with `_`, which a
    readable one cannot.
    """
    if not path:
        return ROOT_STEP
    if len(path) <= 32 and "/" in path and _READABLE_STEP.fullmatch(path):
        return path.replace("/", "_")
    return "_" + hashlib.blake2b(path.encode(), digest_size=15).hexdigest()


@lru_cache(maxsize=2048)
def step_id(agent: str, run: str, step: str) -> str:
    """Return the three tokens that name a step: the end of every subject about it.

    Cached, because the parties to one call build five such subjects; for about as many steps as
    are at work at once, because what is not asked for again only makes the memory cold.

    Raises:
        BadSubject: one of them cannot be a token.
    """
    return f"{token(agent, 'agent')}.{checked_token(run, 'run')}.{step_token(step)}"


def session_id(agent: str, session: str) -> str:
    """Return the two tokens that name a conversation: its agent, and a digest of the session.

    A session's name is a user's text, so it is never part of a subject itself.

    Raises:
        BadSubject: the agent cannot be a token.
    """
    digest = hashlib.blake2b(session.encode(), digest_size=15).hexdigest()
    return f"{token(agent, 'agent')}.{digest}"


def run_of(subject: str) -> str:
    """Return the token of the run in the subject of a call, a result, a note or a parked call.

    Whatever another program has put there; `is_token` says whether it can be a run's.
    """
    return subject.rsplit(".", 2)[-2] if subject.count(".") > 1 else ""


def stream_of_bucket(bucket: str) -> str:
    """Name of the stream that keeps a key-value bucket, by the bucket's name on the server."""
    return f"KV_{bucket}"


def bucket_subject(bucket: str, key: str) -> str:
    """Subject of a key of a bucket, or a filter of several."""
    return f"$KV.{bucket}.{key}"


def bucket_key(subject: str) -> str:
    """Return the key of a bucket in a subject that `bucket_subject` built."""
    return subject.split(".", 2)[2]


class StepSubject(NamedTuple):
    """What the subject of something about one step says."""

    verb: str
    """`call`, `res`, `run`, `tok`, `timer` or `wake`; `live.res` for a republished result."""
    agent: str
    run: str
    step: str
    """Token of the step: `step_token` of its path."""


def step_of(step: str) -> str | None:
    """Return the path that a token stands for; None when it is a digest, or the token of no path.

    The other way round than `step_token`, as far as there is one.
    """
    if step == ROOT_STEP:
        return ""
    path = step.replace("_", "/")
    return path if step_token(path) == step else None


@dataclass(frozen=True)
class Names:
    """The names of one namespace."""

    namespace: str = "default"

    def __post_init__(self) -> None:
        """Check the namespace.

        Raises:
            BadSubject: it cannot be part of a subject.
        """
        token(self.namespace, "namespace")

    @property
    def prefix(self) -> str:
        """What every subject of the namespace begins with, with the dot."""
        return f"aixgo.{self.namespace}."

    # -- reading -------------------------------------------------------------------------------

    def source(self, subject: str) -> str:
        """Return the agent that published an event; empty when it is the subject of none."""
        agent = subject.removeprefix(f"{self.prefix}evt.")
        return agent if agent != subject and _TOKEN.fullmatch(agent) else ""

    def kept_in(self, subject: str) -> str:
        """Return the short name of the stream that keeps what agents take, by its subject."""
        verb = subject.removeprefix(self.prefix).partition(".")[0]
        return {"evt": EVENTS, "wake": TIMERS, "timer": TIMERS}.get(verb, CALLS)

    # -- durable calls -------------------------------------------------------------------------

    def call(self, agent: str, run: str, step: str) -> str:
        """Subject of a call to an agent."""
        return f"aixgo.{self.namespace}.call.{step_id(agent, run, step)}"

    def calls_of(self, agent: str) -> str:
        """Filter of all calls to an agent."""
        return f"aixgo.{self.namespace}.call.{token(agent, 'agent')}.>"

    def result(self, agent: str, run: str, step: str) -> str:
        """Subject of the one result of a step."""
        return f"aixgo.{self.namespace}.res.{step_id(agent, run, step)}"

    def results_of(self, run: str) -> str:
        """Filter of all results of a run."""
        return f"aixgo.{self.namespace}.res.*.{token(run, 'run')}.>"

    def accepted(self, agent: str, run: str, step: str) -> str:
        """Subject of the note that a call was accepted, where calls are written behind."""
        return f"aixgo.{self.namespace}.run.{step_id(agent, run, step)}"

    @property
    def all_accepted(self) -> str:
        """Filter of all accepted calls."""
        return f"aixgo.{self.namespace}.run.>"

    def kept_of(self, run: str) -> str:
        """Filter, in RESULTS, of all that is kept of a run: results, accepted calls and state."""
        return f"aixgo.{self.namespace}.*.*.{token(run, 'run')}.>"

    def parse(self, subject: str) -> StepSubject | None:
        """Return what a subject about one step says; None if it is not one of this namespace.

        Every connected client can publish under any subject, so readers of streams skip what
        this does not understand.
        """
        if not subject.startswith(self.prefix):
            return None
        found = _STEP_SUBJECT.fullmatch(subject, len(self.prefix))
        return None if found is None else StepSubject(*found.groups())

    def same_step(self, subject: str, verb: str) -> str:
        """Subject of the same agent, run and step under another verb."""
        return f"{self.prefix}{verb}.{subject.removeprefix(self.prefix).partition('.')[2]}"

    def live_result(self, agent: str, run: str, step: str) -> str:
        """Where a stored result is republished to waiting callers."""
        return f"aixgo.{self.namespace}.live.res.{step_id(agent, run, step)}"

    def live_results_of(self, run: str) -> str:
        """Filter of all results of a run as they are stored."""
        return f"aixgo.{self.namespace}.live.res.*.{token(run, 'run')}.>"

    def calls_in(self, run: str) -> str:
        """Filter of all calls of a run, for those who watch it."""
        return f"aixgo.{self.namespace}.call.*.{token(run, 'run')}.>"

    @property
    def root_calls(self) -> str:
        """Filter of the calls that began a run."""
        return f"aixgo.{self.namespace}.call.*.*.{ROOT_STEP}"

    @property
    def root_results(self) -> str:
        """Filter of the results that ended a run."""
        return f"aixgo.{self.namespace}.res.*.*.{ROOT_STEP}"

    def step_id(self, agent: str, run: str, step: str) -> str:
        """Id of a step, unique in the CALLS stream: the `Nats-Msg-Id` of its call."""
        return step_id(agent, run, step)

    # -- history, tokens, events ---------------------------------------------------------------

    def history(self, run: str) -> str:
        """Subject of the records of a run's history."""
        return f"aixgo.{self.namespace}.hist.{token(run, 'run')}"

    def live_history(self, run: str) -> str:
        """Where stored history records are republished."""
        return f"aixgo.{self.namespace}.live.hist.{token(run, 'run')}"

    def tokens(self, agent: str, run: str, step: str) -> str:
        """Subject of the streamed tokens of a model step."""
        return f"aixgo.{self.namespace}.tok.{step_id(agent, run, step)}"

    def tokens_in(self, run: str) -> str:
        """Filter of all streamed tokens of a run."""
        return f"aixgo.{self.namespace}.tok.*.{token(run, 'run')}.>"

    def event(self, agent: str) -> str:
        """Subject of the events that an agent publishes."""
        return f"aixgo.{self.namespace}.evt.{token(agent, 'agent')}"

    # -- timers and dead letters ---------------------------------------------------------------

    def timer(self, agent: str, run: str, step: str) -> str:
        """Subject of a schedule: it fires into `wake`."""
        return f"aixgo.{self.namespace}.timer.{step_id(agent, run, step)}"

    def wake(self, agent: str, run: str, step: str) -> str:
        """Where a schedule fires to."""
        return f"aixgo.{self.namespace}.wake.{step_id(agent, run, step)}"

    def timers_in(self, run: str) -> str:
        """Filter of the schedules of a run."""
        return f"aixgo.{self.namespace}.timer.*.{token(run, 'run')}.>"

    @property
    def root_timers(self) -> str:
        """Filter of the schedules of runs' own calls."""
        return f"aixgo.{self.namespace}.timer.*.*.{ROOT_STEP}"

    def wakes_of(self, agent: str) -> str:
        """Filter of an agent's fired schedules."""
        return f"aixgo.{self.namespace}.wake.{token(agent, 'agent')}.>"

    @property
    def dead_letters(self) -> str:
        """Filter of all dead letters."""
        return f"aixgo.{self.namespace}.dlq.>"

    def dead_letter(self, stream: str, subject: str) -> str:
        """Subject of a dead letter: the stream's short name and the original subject's tail.

        A tail that no dead letter can be published under, because another program made it too long
        or put other characters into it, is its verb and a digest of it.
        """
        tail = subject.removeprefix(self.prefix)
        if _PLAIN_TAIL.fullmatch(tail) is None:
            verb = tail.partition(".")[0]
            digest = "_" + hashlib.blake2b(tail.encode(), digest_size=15).hexdigest()
            tail = f"{verb}.{digest}" if is_token(verb) else digest
        return f"aixgo.{self.namespace}.dlq.{token(stream, 'stream')}.{tail}"

    # -- the state of runs ---------------------------------------------------------------------

    def state(self, run: str, key: str, version: int) -> str:
        """Subject of a version of a key of a run's shared state."""
        return f"{self.state_of(run, key)[:-1]}{version}"

    def state_of(self, run: str, key: str) -> str:
        """Filter of the versions of a key of a run's shared state."""
        digest = hashlib.blake2b(key.encode(errors="replace"), digest_size=15).hexdigest()
        return f"aixgo.{self.namespace}.state.{digest}.{token(run, 'run')}.*"

    def states_of(self, run: str) -> str:
        """Filter of all that is kept of a run's shared state."""
        return f"aixgo.{self.namespace}.state.*.{token(run, 'run')}.*"

    # -- sessions ------------------------------------------------------------------------------

    def session_log(self, agent: str, session: str) -> str:
        """Subject of the entries of a conversation."""
        return f"aixgo.{self.namespace}.ses.{session_id(agent, session)}.log"

    def session_head(self, agent: str, session: str) -> str:
        """Subject of the newest summary of a conversation."""
        return f"aixgo.{self.namespace}.ses.{session_id(agent, session)}.head"

    def session_all(self, agent: str, session: str) -> str:
        """Filter of all that is kept of a conversation."""
        return f"aixgo.{self.namespace}.ses.{session_id(agent, session)}.*"

    def session_heads(self, agent: str = "") -> str:
        """Filter of the summaries of an agent's conversations, or of all."""
        owner = token(agent, "agent") if agent else "*"
        return f"aixgo.{self.namespace}.ses.{owner}.*.head"

    # -- core ----------------------------------------------------------------------------------

    def rpc(self, agent: str, method: str) -> str:
        """Subject of a method of a service; a queue group answers."""
        return f"aixgo.{self.namespace}.rpc.{token(agent, 'agent')}.{token(method, 'method')}"

    def cancel(self, run: str) -> str:
        """Signal that a run was cancelled."""
        return f"aixgo.{self.namespace}.ctl.cancel.{token(run, 'run')}"

    def cancel_all(self) -> str:
        """Filter of all cancel signals."""
        return f"aixgo.{self.namespace}.ctl.cancel.*"

    # -- streams, consumers, buckets -----------------------------------------------------------

    def stream(self, short: str) -> str:
        """Name of a stream on the server, such as `aixgo-default-CALLS` for `CALLS`."""
        return f"aixgo-{self.namespace}-{short}"

    def foreign_consumer(self, agent: str) -> str:
        """Name of an agent's consumer in a stream of another system, and of its queue group."""
        return f"aixgo-{self.namespace}-{token(agent, 'agent')}"

    def bucket(self, short: str) -> str:
        """Name of a key-value bucket or object store on the server."""
        return f"aixgo-{self.namespace}-{short}"

    @property
    def parked_stream(self) -> str:
        """Name of the stream that keeps the parked calls."""
        return stream_of_bucket(self.bucket(PARKED))

    def parked(self, key: str) -> str:
        """Subject of a parked call by its key: the tokens of its run and of its step."""
        return bucket_subject(self.bucket(PARKED), key)

    def parked_in(self, run: str = "") -> str:
        """Filter of the parked calls of a run, or of all."""
        return bucket_subject(self.bucket(PARKED), f"{token(run, 'run') if run else '*'}.>")


CALLS, RESULTS, HISTORY, TOKENS = "CALLS", "RESULTS", "HISTORY", "TOKENS"
EVENTS, TIMERS, DLQ, SESSIONS = "EVENTS", "TIMERS", "DLQ", "SESSIONS"
STREAMS = (CALLS, RESULTS, HISTORY, TOKENS, EVENTS, TIMERS, DLQ, SESSIONS)
"""Short names of the streams of a namespace."""

PRESENCE, LEASES, PARKED, FEEDS = "presence", "leases", "parked", "feeds"
BUCKETS = (PRESENCE, LEASES, PARKED, FEEDS)
"""Short names of the key-value buckets of a namespace."""

BLOBS = "blobs"
"""Short name of the object store of a namespace."""


@dataclass(frozen=True)
class Entry:
    """A row of the catalogue: the pattern after the prefix; the stream that keeps it, or `core`."""

    pattern: str
    kept_in: str


ALL: tuple[Entry, ...] = (
    Entry("call.<agent>.<run>.<step>", CALLS),
    Entry("res.<agent>.<run>.<step>", RESULTS),
    Entry("live.res.<agent>.<run>.<step>", "core"),
    Entry("run.<agent>.<run>.<step>", RESULTS),
    Entry("hist.<run>", HISTORY),
    Entry("live.hist.<run>", "core"),
    Entry("tok.<agent>.<run>.<step>", TOKENS),
    Entry("evt.<agent>", EVENTS),
    Entry("timer.<agent>.<run>.<step>", TIMERS),
    Entry("wake.<agent>.<run>.<step>", TIMERS),
    Entry("dlq.<stream>.<original subject>", DLQ),
    Entry("state.<key>.<run>.<version>", RESULTS),
    Entry("ses.<agent>.<session>.log", SESSIONS),
    Entry("ses.<agent>.<session>.head", SESSIONS),
    Entry("rpc.<agent>.<method>", "core"),
    Entry("ctl.cancel.<run>", "core"),
)
"""What `subjects.md` lists; a test compares each with what the functions above build."""
