"""What the tables hold, as frozen values. Pure: no database here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from turnkeeper_storage.items import Item, Json


class RunStatus(StrEnum):
    """Where a run stands; see `transitions` for the arrows between."""

    QUEUED = "queued"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


class CallStatus(StrEnum):
    """Where a tool call stands."""

    PLANNED = "planned"
    AWAITING = "awaiting"
    STARTED = "started"
    DONE = "done"
    DENIED = "denied"
    IN_DOUBT = "in_doubt"
    CLOSED = "closed"


class ApprovalReason(StrEnum):
    """Why a call waits for a person."""

    GATED = "gated"
    MALFORMED = "malformed"
    IN_DOUBT = "in_doubt"


class ApprovalStatus(StrEnum):
    """Where an approval stands; all but the first are final."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class OnPaused(StrEnum):
    """What an enqueue does when the session's head waits for an approval (PROTOCOL 2.14)."""

    QUEUE = "queue"
    REJECT = "reject"
    SUPERSEDE = "supersede"


class EventType(StrEnum):
    """Durable events of a run."""

    QUEUED = "run.queued"
    STARTED = "run.started"
    TURN_FINISHED = "turn.finished"
    TURN_RESTARTED = "turn.restarted"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_DECIDED = "approval.decided"
    COMPLETED = "run.completed"
    FAILED = "run.failed"
    CANCELLED = "run.cancelled"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more model calls, and how many calls that were."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def as_json(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }

    @classmethod
    def from_json(cls, value: Json) -> Usage:
        known = cls.__dataclass_fields__
        return cls(**{name: int(number) for name, number in (value or {}).items() if name in known})


@dataclass(frozen=True, slots=True)
class RunError:
    """Why a run failed: `code` is stable and for programs, `message` for people."""

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What an enqueue may say beyond its input; stored with the run as JSON.

    `stream`: call the model streamed and store the input before the first call.
    `max_turns`: over the agent's own; None leaves it to the agent.
    `metadata`: free JSON that tools see as `ctx.metadata`.
    `session_input_callback`: the name of one of the app's, over the agent's own.
    `deadline_seconds`: from acceptance to the run's end; None leaves it to the setting.
    `token_limit`: tokens of all its model calls after which none is begun; over the agent's own.
    """

    stream: bool = False
    max_turns: int | None = None
    metadata: dict[str, Json] = field(default_factory=dict)
    session_input_callback: str | None = None
    deadline_seconds: float | None = None
    token_limit: int | None = None

    def as_json(self) -> dict[str, Json]:
        full = {
            "stream": self.stream,
            "max_turns": self.max_turns,
            "metadata": self.metadata,
            "session_input_callback": self.session_input_callback,
            "deadline_seconds": self.deadline_seconds,
            "token_limit": self.token_limit,
        }
        return {name: value for name, value in full.items() if value not in (False, None, {})}

    @classmethod
    def from_json(cls, value: Json) -> RunOptions:
        given = value or {}
        return cls(
            stream=bool(given.get("stream", False)),
            max_turns=given.get("max_turns"),
            metadata=given.get("metadata") or {},
            session_input_callback=given.get("session_input_callback"),
            deadline_seconds=given.get("deadline_seconds"),
            token_limit=given.get("token_limit"),
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """A worker's right to work on a session: what the fence compares."""

    session_key: str
    epoch: int
    lease_id: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is stored. `turn` counts committed turns, `next_event` is the next durable index.

    `input` are the items it was enqueued with; `merged_input` is the model's first input, None before the
    first checkpoint; `stored_input` what of it goes to the history, with it. `parked_turn`: the history holds
    the run's items up to this turn's calls, without that turn's outputs; None when it never parked. `sticky`
    is by tool: {"verdict": "approved" | "rejected", "by", "reason", "tool_digest"}. `trace_parent`: of the
    span that enqueued it, None when that was not traced.
    """

    session_key: str
    session_id: str
    tenant: str
    id: str
    seq: int
    status: RunStatus
    agent: str
    input: list[Item]
    options: RunOptions
    turn: int = 0
    crashes: int = 0
    cancel_requested: bool = False
    merged_input: list[Item] | None = None
    stored_input: list[Item] | None = None
    idempotency_key: str | None = None
    output: Json = None
    error: RunError | None = None
    usage: Usage = Usage()
    agent_digest: str | None = None
    next_event: int = 1
    deadline: datetime | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    parked_turn: int | None = None
    sticky: dict[str, Json] = field(default_factory=dict)
    state_version: int = 1
    trace_parent: str | None = None


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to be inserted; the session's queue gives it its seq.

    `deadline_seconds` is what holds: the run's own, else the setting's; None for no deadline.
    """

    session_key: str
    id: str
    tenant: str
    session_id: str
    agent: str
    input: list[Item]
    input_digest: str
    options: RunOptions
    idempotency_key: str | None = None
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of a committed turn. `output` is the text that the model is given, once there is one.

    `kind`: "function", "custom" or "mcp" (an approval that the model server asks for: nothing runs here).
    `tool_digest`: of the gated tool when its approval was asked for, None for a call that is not gated.
    """

    call_id: str
    turn: int
    name: str
    arguments: str
    position: int = 0
    status: CallStatus = CallStatus.PLANNED
    output: str | None = None
    idempotent: bool = True
    kind: str = "function"
    tool_digest: str | None = None

    @property
    def is_settled(self) -> bool:
        return self.status in (CallStatus.DONE, CallStatus.DENIED, CallStatus.CLOSED)


@dataclass(frozen=True, slots=True)
class Turn:
    """A committed turn: one model answer, as items.

    `added` are a caller's items that follow the outputs of the turn's calls (`add_input`). `deltas` counts
    those that a streamed answer gave, for the event that reports the turn; it is not stored with it.
    """

    turn: int
    response_id: str | None
    items: list[Item]
    usage: Usage
    added: list[Item] = field(default_factory=list)
    deltas: int = 0


@dataclass(frozen=True, slots=True)
class NewApproval:
    """A call that a person shall decide on. `expires_in`, `available_in`: seconds from now, None for never.

    `arguments` is the text as the call has it. Of a call in doubt the decision is possible after
    `available_in` and after the time-out of the tool, and the time to decide begins then.
    """

    call_id: str
    turn: int
    tool: str
    arguments: str
    reason: ApprovalReason = ApprovalReason.GATED
    tool_digest: str | None = None
    agent_digest: str | None = None
    expires_in: float | None = None
    available_in: float | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """One tool call that waits for a person's decision, or had one.

    `arguments_digest` is of the tool's name and `arguments`; `outcome` of a call in doubt is "happened",
    "not_happened" or "abort". On the database's clock when it was read: `available`, a decision is possible
    now; `overdue`, its time is over, and the expiry is about to be written.
    """

    id: str
    session_key: str
    session_id: str
    tenant: str
    run_id: str
    call_id: str
    turn: int
    tool: str
    arguments: str
    arguments_digest: str
    reason: ApprovalReason
    status: ApprovalStatus
    edited_arguments: str | None = None
    tool_digest: str | None = None
    agent_digest: str | None = None
    outcome: str | None = None
    sticky: bool = False
    expires_at: datetime | None = None
    available_at: datetime | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    note: str | None = None
    created_at: datetime | None = None
    available: bool = True
    overdue: bool = False

    @property
    def is_pending(self) -> bool:
        return self.status is ApprovalStatus.PENDING


@dataclass(frozen=True, slots=True)
class Merged:
    """`model_input` goes to the model, `stored_input` to the history at the run's first boundary."""

    model_input: list[Item]
    stored_input: list[Item]


@dataclass(frozen=True, slots=True)
class Event:
    """A durable event of a run; `n` is dense from 1 within the run."""

    run_id: str
    n: int
    type: EventType
    data: dict[str, Json]
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """An agent as workers registered it; `tools` are the tools' JSON schemas."""

    name: str
    digest: str
    queue: str
    tools: list[dict[str, Json]]
    seen_at: datetime | None = None
