"""Compare what was executed and paid with what was recorded, and say where a lost run stands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aixgo.broker.port import Record
from aixgo.calls.space import Space
from aixgo.client import Client
from aixgo.envelope import decode
from aixgo.subjects import CALLS, RESULTS

from .fleet import SERVER, Kill
from .ledger import Line
from .table import Row

CLOCK_SLACK_SECONDS = 0.005
"""Between the clocks of the ledger and of the server: the same machine, read at different ends."""


@dataclass
class Run:
    """A run as its caller saw it; moments are Unix seconds."""

    agent: str
    text: str
    id: str
    began: float
    ended: float | None = None


def recoveries(kills: list[Kill], lines: list[Line], runs: dict[str, Run]) -> list[float]:
    """Return seconds from each kill that hit a run until the last run that it hit had finished.

    A kill of a service hits the runs of the deliveries that the process held. A kill of the server
    hits every run that was not finished.
    """
    ends = {(line.pid, line.subject): line.moment for line in lines if line.what == "ended"}
    found = []
    for kill in kills:
        hit = {
            line.run
            for line in lines
            if line.what == "taken"
            and line.pid in kill.pids
            and line.moment <= kill.moment
            and ends.get((line.pid, line.subject), kill.moment) >= kill.moment
        }
        if SERVER in kill.victims:
            hit |= {run.id for run in runs.values() if run.began <= kill.moment}
        moments = [runs[id].ended for id in hit if id in runs]
        after = [moment - kill.moment for moment in moments if moment and moment > kill.moment]
        if after:
            found.append(max(after))
    return found


async def audit(
    client: Client, row: Row, lines: list[Line], asked: Counter[str], paid: Counter[str]
) -> None:
    """Fill in what ran again and what was paid again.

    A completed step ran again when its worker looked for the result after it was stored, and
    executed all the same. What began before that was in flight.
    """
    records = await client.broker.read(client.names.stream(RESULTS), f"{client.names.prefix}res.>")
    stored = {record.subject: record.time for record in records}
    executions: Counter[str] = Counter()
    for line in lines:
        if line.what != "began":
            continue
        executions[line.subject] += 1
        late = line.looked - stored.get(line.subject, float("inf"))
        if late > CLOCK_SLACK_SECONDS:
            row.again.append(f"{line.subject} in process {line.pid}, {late:.3f} s after its result")
    row.executions = executions.total()
    row.repeated = row.executions - len(executions)
    _check_the_ledger(client, records, executions)
    row.paid_again += [f"{key}: paid {count} times" for key, count in paid.items() if count > 1]
    questions = dict.fromkeys(asked, "")
    for record in records:
        if ".res.llm." in record.subject:
            text = _content(record.data)
            if text in questions:
                questions[text] = record.subject
    for question, subject in questions.items():
        if asked[question] > executions[subject]:
            row.paid_again.append(
                f"{question!r} was asked {asked[question]} times in {executions[subject]} "
                f"executions of {subject or 'nobody'}"
            )


def _content(data: bytes) -> str:
    """Return the question whose answer a result of the gateway is."""
    body = decode(data).body.decode()
    return body.partition("answer to ")[2].partition('"')[0]


def _check_the_ledger(client: Client, stored: Sequence[Record], executions: Counter[str]) -> None:
    """Refuse to certify anything when executions were not noted: then nothing would be proved."""
    # what these two record by themselves: values, and uses of tools
    own = tuple(f"{client.names.prefix}res.{agent}." for agent in ("nested", "react"))
    missing = [
        record
        for record in stored
        if not executions[record.subject] and not record.subject.startswith(own)
    ]
    assert not missing, (
        f"{len(missing)} results without a noted execution, such as {missing[0].subject}: "
        f"{missing[0].data[:500]!r}"
    )


async def whereabouts(client: Client, run: Run, lines: list[Line], alive: set[int]) -> str:
    """Return where an unfinished run stands: what is queued, running and parked."""
    names, broker = client.names, client.broker
    done = {
        record.subject
        for record in await broker.read(names.stream(RESULTS), names.results_of(run.id))
    }
    queued = {
        record.subject.replace(".call.", ".res.", 1)
        for record in await broker.read(names.stream(CALLS), names.calls_in(run.id))
    }
    ended = {(line.pid, line.subject) for line in lines if line.what == "ended"}
    running = {
        line.subject: line.pid
        for line in lines
        if line.what == "began" and line.run == run.id and (line.pid, line.subject) not in ended
    }
    parked = [call.request.step for call in await Space(broker, names).parking.all(run.id)]

    def named(subject: str) -> str:
        """Return agent and step, and which process began it last."""
        pid = running.get(subject)
        who = "" if pid is None else f" (process {pid}, {'alive' if pid in alive else 'dead'})"
        agent, _, step = subject.split(".", 3)[3].split(".", 2)
        return f"{agent}:{step}{who}"

    waiting = ", ".join(sorted(named(subject) for subject in queued - done)) or "nothing"
    return (
        f"after {time.time() - run.began:.0f} s: {len(done)} results; in CALLS: {waiting}; "
        f"parked: {', '.join(parked) or 'nothing'}"
    )
