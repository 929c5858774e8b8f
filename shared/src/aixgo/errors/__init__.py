"""Every error that Aixgo raises, as one tree.

    AixgoError
    ├── ConfigError                     what people wrote is wrong; the CLI exits 2
    │   ├── InvalidDocument             a document; carries each finding with its line and column
    │   ├── UnknownRole                 no installed package offers the role
    │   ├── UnknownProvider             no such model provider
    │   ├── MissingKey                  a provider needs an environment variable
    │   └── MissingExtra                an optional dependency is not installed
    ├── BrokerError
    │   ├── Unreachable                 no server answers at the address
    │   ├── AuthenticationFailed        wrong user, password or key
    │   ├── ServerTooOld                nats-server below the supported version
    │   ├── JetStreamDisabled           the server keeps no streams
    │   ├── PermissionDenied            the server refuses the subject to this user
    │   ├── ConnectionClosed            this connection was closed for good
    │   ├── Disconnected        (retry) the connection is down at this moment
    │   ├── NoResponders        (retry) no process listens on the subject
    │   ├── RequestTimeout      (retry) no answer in time
    │   ├── BadSubject                  a subject or token breaks the rules
    │   ├── BadHeader                   a header key or value breaks the rules
    │   ├── PayloadTooLarge             over the broker's message limit
    │   │   └── BodyTooLarge            over what the object store carries
    │   ├── StreamNotFound              the stream is not provisioned
    │   ├── ConsumerNotFound            the consumer is not provisioned
    │   ├── ConsumerConflict            filters overlap, or the declaration differs
    │   ├── StreamFull          (retry) backpressure: the stream is at its limit
    │   ├── DiskFull            (retry) the server cannot write to its disk
    │   ├── WrongSequence               compare-and-set lost
    │   ├── StreamRefused               the stream refuses the message (TTL, size, other stream)
    │   ├── BlobMissing                 the object store does not have the object, or no longer
    │   └── BlobCorrupt                 an object's size or digest is not what was put
    ├── CallError
    │   ├── UnknownAgent                no agent of that name is served here
    │   ├── InvalidPayload              the message does not fit the handler's type
    │   ├── NotSupported                the agent's style cannot do this (execute on a producer)
    │   ├── NotReady            (retry) the agent has not finished starting
    │   ├── DeadlineExceeded            the call's deadline passed
    │   ├── Refused                     a hook or a person does not want it; becomes a result
    │   ├── Cancelled                   the run was cancelled
    │   ├── DepthExceeded               calls nest deeper than the limit
    │   ├── AgentTimeout        (retry) an execution took longer than the agent's own `timeout`
    │   ├── ProcessDied                 process after process ended with the call at work
    │   ├── EffectsRepeated             a fork would do again what must not be done twice
    │   ├── HandlerExited               a handler tried to end its process
    │   ├── ParkSwallowed               a handler went on although its call is parked
    │   ├── NoDeadLetter                the DLQ has no entry of that number
    │   ├── NoRun                       nothing is recorded of a run
    │   ├── NoStep                      a run has no step of that path
    │   ├── NoQuestion                  a run asks no person anything, or several things
    │   ├── TooFewResults               so many steps of a gather failed that `need` is out of reach
    │   ├── TokensExceeded              a run used more tokens than its limit
    │   ├── ReplayMismatch              changed code does not fit what was recorded
    │   ├── SessionOfAnother            a session was used for another user than its own
    │   ├── SessionChanged              the conversation that a run saw first is gone
    │   ├── NoSession                   there is no such conversation, or no such entry in it
    │   ├── SessionExists               a fork would be added to another conversation
    │   ├── InboxFull           (retry) an inbox is at its limit
    │   └── RemoteError                 the called agent failed; carries its code and cause
    ├── PatternError                    an orchestration pattern could not finish
    ├── ToolError
    │   ├── UnknownTool                 the agent has no tool of that name
    │   ├── ToolNotDone         (retry) the tool itself says that nothing happened
    │   │   ├── ToolUnavailable (retry) where a tool is executed cannot be reached
    │   │   └── AddressBlocked          the guard of tools over the network refuses an address
    │   ├── OutcomeUnknown      (retry) a request was sent, and its end was not seen
    │   ├── ToolTimeout         (retry) an execution of a tool took longer than its `timeout`
    │   └── ToolFailed                  a tool failed for good; the failure is recorded
    ├── StoreError                      a store outside of the broker refuses what it was asked
    │   └── StoreUnavailable    (retry) it cannot be reached at this moment
    └── ModelError
        ├── RateLimited         (retry) 429; carries retry_after
        ├── ModelUnavailable    (retry) 5xx, connection refused or lost
        ├── ModelTimeout        (retry) no answer in time
        ├── ModelAuthFailed             401, 403, 402
        ├── ModelNotFound               404
        ├── BadModelRequest             other 4xx: the request itself is wrong
        │   ├── ContextTooLong          the prompt does not fit the model
        │   └── ContentRefused          the provider's content policy
        ├── UnsupportedByModel          this provider or model cannot do that
        ├── BadModelAnswer      (retry) the answer could not be read or fails its schema
        ├── ModelsExhausted             none of the models of a list answered
        └── ScriptExhausted             a scripted model was asked once too often

`retryable` says whether doing the same again may help; `code` is the stable name that travels in
envelopes, metrics and `retry_on`. Facts are attributes, so no caller parses a message. There is one
file for each branch; import the classes from here.
"""

from .base import (
    AixgoError,
    by_code,
    code_of,
    cut,
    sendable,
    text_of,
)
from .broker import (
    AuthenticationFailed,
    BadHeader,
    BadSubject,
    BlobCorrupt,
    BlobMissing,
    BodyTooLarge,
    BrokerError,
    ConnectionClosed,
    ConsumerConflict,
    ConsumerNotFound,
    Disconnected,
    DiskFull,
    JetStreamDisabled,
    NoResponders,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
    ServerTooOld,
    StreamFull,
    StreamNotFound,
    StreamRefused,
    Unreachable,
    WrongSequence,
)
from .calls import (
    AgentTimeout,
    CallError,
    Cancelled,
    DeadlineExceeded,
    DepthExceeded,
    EffectsRepeated,
    HandlerExited,
    InboxFull,
    InvalidPayload,
    NoDeadLetter,
    NoQuestion,
    NoRun,
    NoSession,
    NoStep,
    NotReady,
    NotSupported,
    ParkSwallowed,
    ProcessDied,
    Refused,
    RemoteError,
    ReplayMismatch,
    SessionChanged,
    SessionExists,
    SessionOfAnother,
    TokensExceeded,
    TooFewResults,
    UnknownAgent,
)
from .config import (
    ConfigError,
    Finding,
    InvalidDocument,
    MissingExtra,
    MissingKey,
    UnknownProvider,
    UnknownRole,
)
from .models import (
    BadModelAnswer,
    BadModelRequest,
    ContentRefused,
    ContextTooLong,
    ModelAuthFailed,
    ModelError,
    ModelNotFound,
    ModelsExhausted,
    ModelTimeout,
    ModelUnavailable,
    RateLimited,
    ScriptExhausted,
    UnsupportedByModel,
)
from .patterns import (
    PatternError,
)
from .stores import StoreError, StoreUnavailable
from .tools import (
    AddressBlocked,
    OutcomeUnknown,
    ToolError,
    ToolFailed,
    ToolNotDone,
    ToolTimeout,
    ToolUnavailable,
    UnknownTool,
)

__all__ = [
    "AddressBlocked",
    "AgentTimeout",
    "AixgoError",
    "AuthenticationFailed",
    "BadHeader",
    "BadModelAnswer",
    "BadModelRequest",
    "BadSubject",
    "BlobCorrupt",
    "BlobMissing",
    "BodyTooLarge",
    "BrokerError",
    "CallError",
    "Cancelled",
    "ConfigError",
    "ConnectionClosed",
    "ConsumerConflict",
    "ConsumerNotFound",
    "ContentRefused",
    "ContextTooLong",
    "DeadlineExceeded",
    "DepthExceeded",
    "Disconnected",
    "DiskFull",
    "EffectsRepeated",
    "Finding",
    "HandlerExited",
    "InboxFull",
    "InvalidDocument",
    "InvalidPayload",
    "JetStreamDisabled",
    "MissingExtra",
    "MissingKey",
    "ModelAuthFailed",
    "ModelError",
    "ModelNotFound",
    "ModelTimeout",
    "ModelUnavailable",
    "ModelsExhausted",
    "NoDeadLetter",
    "NoQuestion",
    "NoResponders",
    "NoRun",
    "NoSession",
    "NoStep",
    "NotReady",
    "NotSupported",
    "OutcomeUnknown",
    "ParkSwallowed",
    "PatternError",
    "PayloadTooLarge",
    "PermissionDenied",
    "ProcessDied",
    "RateLimited",
    "Refused",
    "RemoteError",
    "ReplayMismatch",
    "RequestTimeout",
    "ScriptExhausted",
    "ServerTooOld",
    "SessionChanged",
    "SessionExists",
    "SessionOfAnother",
    "StoreError",
    "StoreUnavailable",
    "StreamFull",
    "StreamNotFound",
    "StreamRefused",
    "TokensExceeded",
    "TooFewResults",
    "ToolError",
    "ToolFailed",
    "ToolNotDone",
    "ToolTimeout",
    "ToolUnavailable",
    "UnknownAgent",
    "UnknownProvider",
    "UnknownRole",
    "UnknownTool",
    "Unreachable",
    "UnsupportedByModel",
    "WrongSequence",
    "by_code",
    "code_of",
    "cut",
    "sendable",
    "text_of",
]
