"""`Space`: everything that is durable in one namespace, over one connection, built once."""

from __future__ import annotations

from aixgo.broker.keyvalue import Bucket
from aixgo.broker.port import Broker
from aixgo.calls.call_notes import CallNotes
from aixgo.calls.cancel import Cancels
from aixgo.calls.dead_letters import DeadLetters
from aixgo.calls.foreign import Foreign
from aixgo.calls.history import History
from aixgo.calls.parking import Parking
from aixgo.calls.payload_store import PayloadStore
from aixgo.calls.results import Results
from aixgo.calls.room import Room
from aixgo.calls.run_state import RunState
from aixgo.stores.sessions.broker import BrokerSessions
from aixgo.stores.sessions.port import SessionStore
from aixgo.subjects import FEEDS, LEASES, Names


class Space:
    """The records of a namespace; what calls, works, keeps up and looks shares one of it.

    Attributes:
        payloads: what is too large to travel.
        results: the one result of each step.
        state: what the agents of a run share.
        history: what happened besides.
        notes: notes of calls that a queue written behind could lose.
        parking: calls that wait for a person or a timer.
        dead_letters: what could not be handled.
        cancels: ends calls and what they caused.
        foreign: records that were skipped, because no part of Aixgo wrote them.
        room: who may still add to what is nearly full.
        sessions: the conversations; in this broker, unless another store is put here.
        leases: who does alone what several could do (`LEASES`).
        feeds: how far each producer of events is (`FEEDS`).
        known: agents that are there, as far as this process has met them.
    """

    __slots__ = (
        "broker",
        "cancels",
        "dead_letters",
        "feeds",
        "foreign",
        "history",
        "known",
        "leases",
        "names",
        "notes",
        "parking",
        "payloads",
        "results",
        "room",
        "sessions",
        "state",
    )

    def __init__(self, broker: Broker, names: Names) -> None:
        self.broker, self.names = broker, names
        self.payloads = PayloadStore(broker, names)
        self.foreign, self.room = Foreign(), Room(broker, names)
        self.results = Results(broker, names, self.payloads, self.foreign, self.room)
        self.state = RunState(broker, names, self.foreign, self.room)
        self.history = History(broker, names)
        self.notes = CallNotes(broker, names)
        self.parking = Parking(broker, names, self.notes, self.history, self.foreign)
        self.dead_letters = DeadLetters(broker, names, self.foreign)
        self.cancels = Cancels(broker, names, self.results, self.parking, self.history)
        self.leases = Bucket(broker, names.bucket(LEASES))
        self.feeds = Bucket(broker, names.bucket(FEEDS))
        self.known: set[str] = set()
        self.sessions: SessionStore = BrokerSessions(broker, names)
