"""What clients hand out: frozen values, each with its JSON form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from turnkeeper_client.approval_snapshots import ApprovalSnapshot
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import AgentRecord, Run, RunError, RunStatus, Usage
from turnkeeper_storage.repositories.session_listing import SessionSummary
from turnkeeper_storage.session_edits import SessionEdit


@dataclass(frozen=True, slots=True)
class RunSnapshot:
    """A run as it stood when it was read.

    `output` is the answer of a completed run, `error` the reason of a failed one; `turn` counts committed
    turns; `seq` is the run's place in the queue of its session. `approvals` are what a run at
    `awaiting_approval` waits for; in a page of runs they are left out, see `approvals(run_id=…)`. A run that
    has not ended at its `deadline` fails.
    """

    id: str
    session_id: str
    tenant: str
    seq: int
    status: RunStatus
    agent: str
    output: Json
    error: RunError | None
    usage: Usage
    turn: int
    metadata: dict[str, Json]
    cancel_requested: bool
    idempotency_key: str | None
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    approvals: tuple[ApprovalSnapshot, ...] = field(default=())
    deadline: datetime | None = None

    @classmethod
    def of(cls, run: Run, approvals: Sequence[ApprovalSnapshot] = ()) -> RunSnapshot:
        """The public side of a stored run."""
        return cls(
            id=run.id,
            session_id=run.session_id,
            tenant=run.tenant,
            seq=run.seq,
            status=run.status,
            agent=run.agent,
            output=run.output,
            error=run.error,
            usage=run.usage,
            turn=run.turn,
            metadata=run.options.metadata,
            cancel_requested=run.cancel_requested,
            idempotency_key=run.idempotency_key,
            created_at=run.created_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            approvals=tuple(approvals),
            deadline=run.deadline,
        )

    def as_json(self) -> dict[str, Json]:
        """Plain JSON; instants in ISO 8601 with their zone."""
        return {
            "id": self.id,
            "session_id": self.session_id,
            "tenant": self.tenant,
            "seq": self.seq,
            "status": self.status.value,
            "agent": self.agent,
            "output": self.output,
            "error": self.error.as_json() if self.error else None,
            "usage": self.usage.as_json(),
            "turn": self.turn,
            "metadata": self.metadata,
            "cancel_requested": self.cancel_requested,
            "idempotency_key": self.idempotency_key,
            "created_at": _text(self.created_at),
            "started_at": _text(self.started_at),
            "finished_at": _text(self.finished_at),
            "deadline": _text(self.deadline),
            "approvals": [one.as_json() for one in self.approvals],
        }


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first; `next_cursor` leads to older ones, None at the end."""

    runs: tuple[RunSnapshot, ...]
    next_cursor: str | None

    def as_json(self) -> dict[str, Json]:
        return {"runs": [run.as_json() for run in self.runs], "next_cursor": self.next_cursor}


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session and how much is in it.

    `store` says where its items live, "" when it has none yet; `items` counts the ones in our database.
    `retention_seconds` after its last change it is deleted; None: as the setting of the workers says.
    """

    id: str
    tenant: str
    store: str
    runs: int
    items: int
    created_at: datetime
    updated_at: datetime
    owner: str | None = None
    metadata: dict[str, Json] = field(default_factory=dict)
    retention_seconds: float | None = None

    @classmethod
    def of(cls, row: SessionSummary) -> SessionInfo:
        """The public side of a session's row."""
        return cls(
            row.id,
            row.tenant,
            row.store,
            row.runs,
            row.items,
            row.created_at,
            row.updated_at,
            row.owner,
            dict(row.metadata),
            row.retention_seconds,
        )

    def as_json(self) -> dict[str, Json]:
        return {
            "id": self.id,
            "tenant": self.tenant,
            "store": self.store,
            "runs": self.runs,
            "items": self.items,
            "created_at": _text(self.created_at),
            "updated_at": _text(self.updated_at),
            "owner": self.owner,
            "metadata": self.metadata,
            "retention_seconds": self.retention_seconds,
        }


@dataclass(frozen=True, slots=True)
class SessionPage:
    """Sessions in the order of their ids; `next_cursor` leads on, None at the end."""

    sessions: tuple[SessionInfo, ...]
    next_cursor: str | None

    def as_json(self) -> dict[str, Json]:
        return {"sessions": [one.as_json() for one in self.sessions], "next_cursor": self.next_cursor}


@dataclass(frozen=True, slots=True)
class EditPage:
    """Edits of sessions, newest first; `next_cursor` leads to older ones, None at the end."""

    edits: tuple[SessionEdit, ...]
    next_cursor: str | None

    def as_json(self) -> dict[str, Json]:
        return {"edits": [_edit_as_json(one) for one in self.edits], "next_cursor": self.next_cursor}


def _edit_as_json(edit: SessionEdit) -> dict[str, Json]:
    return {
        "id": edit.id,
        "tenant": edit.tenant,
        "session_id": edit.session_id,
        "action": edit.action.value,
        "by": edit.by,
        "items": edit.items,
        "fields": list(edit.fields),
        "created_at": _text(edit.created_at),
    }


def agent_as_json(record: AgentRecord) -> dict[str, Json]:
    """A registered agent as plain JSON, its tools with their schemas."""
    return {
        "name": record.name,
        "digest": record.digest,
        "queue": record.queue,
        "tools": record.tools,
        "seen_at": _text(record.seen_at),
    }


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
