"""The documents of the API as OpenAPI describes them: field by field what the client's snapshots say.

Responses are written by the snapshots themselves (`as_json`); these classes say what they look like. Requests
are read by them: an unknown field, or a wrong type, is refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from turnkeeper_storage.api_keys import Scope
from turnkeeper_storage.approvals import MAX_NOTE, DecisionKind
from turnkeeper_storage.history_faults import FaultKind
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import ApprovalReason, ApprovalStatus, CallStatus, RunStatus
from turnkeeper_storage.session_edits import EditAction

MAX_DECISIONS = 100
# what the checks of the client say in words, said to OpenAPI as well
_NAME = {"minLength": 1, "maxLength": 255}
_RUN_ID = "run_06f9xk2m4n8q1v3z5b7d9f0h2j4k6m8p0r2t4w6y8a"
_APPROVAL_ID = "apr_06f9xk2m4n8q1v3z5b7d9f0h2j4k6m8p0r2t4w6y8a"

Name: TypeAlias = Annotated[str, Field(json_schema_extra=dict(_NAME))]
Metadata: TypeAlias = dict[str, Json]
JsonObject: TypeAlias = dict[str, Json]


class Response(BaseModel):
    """A document that we write."""


class Request(BaseModel):
    """A document that we read."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RunError(Response):
    code: str
    message: str


class Usage(Response):
    requests: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


class ApprovalSnapshot(Response):
    id: str = Field(examples=[_APPROVAL_ID])
    run_id: str
    session_id: str
    tenant: str
    call_id: str
    turn: int
    tool: str
    arguments: Any
    reason: ApprovalReason
    status: ApprovalStatus
    available: bool
    edited_arguments: Any
    outcome: str | None
    sticky: bool
    decided_by: str | None
    decided_at: datetime | None
    note: str | None
    expires_at: datetime | None
    available_at: datetime | None
    created_at: datetime | None


class ApprovalPage(Response):
    approvals: list[ApprovalSnapshot]
    next_cursor: str | None


class RunSnapshot(Response):
    id: str = Field(examples=[_RUN_ID])
    session_id: str
    tenant: str
    seq: int
    status: RunStatus
    agent: str
    output: Any
    error: RunError | None
    usage: Usage
    turn: int
    metadata: JsonObject
    cancel_requested: bool
    idempotency_key: str | None
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None
    approvals: list[ApprovalSnapshot]


class RunPage(Response):
    runs: list[RunSnapshot]
    next_cursor: str | None


class RunEvent(Response):
    cursor: str
    n: int
    type: str
    data: JsonObject
    run_id: str
    created_at: datetime | None


class ToolCallSnapshot(Response):
    call_id: str
    turn: int
    name: str
    arguments: Any
    status: CallStatus
    output: str | None
    planned_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class ToolCalls(Response):
    calls: list[ToolCallSnapshot]


class SessionInfo(Response):
    id: str
    tenant: str
    store: str
    runs: int
    items: int
    created_at: datetime
    updated_at: datetime
    owner: str | None
    metadata: JsonObject
    retention_seconds: float | None


class SessionPage(Response):
    sessions: list[SessionInfo]
    next_cursor: str | None


class SessionEdit(Response):
    id: str
    tenant: str
    session_id: str
    action: EditAction
    by: str | None
    items: int | None
    fields: list[str]
    created_at: datetime | None


class EditPage(Response):
    edits: list[SessionEdit]
    next_cursor: str | None


class Items(Response):
    items: list[JsonObject]


class PoppedItem(Response):
    item: JsonObject | None


class HistoryFault(Response):
    place: int
    kind: FaultKind
    type: str | None
    item_id: str | None


class SessionCheck(Response):
    """`removed` of the items in `faults` were taken out; `in_use`: a run is not through with the session."""

    id: str
    items: int
    in_use: bool
    removed: int
    faults: list[HistoryFault]


class Me(Response):
    tenant: str
    identity: str
    scopes: list[Scope]


class AgentRecord(Response):
    name: str
    digest: str
    queue: str
    tools: list[JsonObject]
    seen_at: datetime | None


class Agents(Response):
    agents: list[AgentRecord]


class WorkerSnapshot(Response):
    name: str
    queue: str | None
    slots: int | None
    in_flight: int | None
    live: int
    lost: int
    silent: bool
    started_at: datetime | None
    seen_at: datetime | None


class Workers(Response):
    workers: list[WorkerSnapshot]


class Alive(Response):
    status: Literal["alive"]


class Checks(Response):
    database: str
    migrations: str
    broker: str


class Readiness(Response):
    status: Literal["ready", "degraded", "not_ready"]
    checks: Checks


class Problem(Response):
    """An error, as RFC 9457 says; some have more members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class DecisionResult(Response):
    """What became of one of many decisions: `approval` when it stands, `problem` when it does not."""

    approval_id: str
    status: int
    approval: ApprovalSnapshot | None
    problem: Problem | None


class DecisionResults(Response):
    results: list[DecisionResult]


class NewRun(Request):
    """See `AsyncClient.enqueue`; the idempotency key is a header."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "example": {"session_id": "customer-42", "input": "Where is order 7?", "agent": "support"}
        },
    )

    session_id: Name
    input: str | list[JsonObject]
    agent: Name
    stream: bool = False
    max_turns: Annotated[int, Field(json_schema_extra={"minimum": 1})] | None = None
    metadata: JsonObject | None = None
    on_paused: Literal["queue", "reject", "supersede"] = "queue"
    session_input_callback: Name | None = None
    deadline_seconds: Annotated[float, Field(json_schema_extra={"exclusiveMinimum": 0})] | None = None
    token_limit: Annotated[int, Field(json_schema_extra={"minimum": 1})] | None = None


class Decision(Request):
    """What is decided; who decides is the credential's to say.

    `note` is a remark, or the reason of a rejection that the model is told. `arguments` (approve) replace
    those of the model. `happened`, `not_happened` and `abort` are for a call in doubt; `output` is what one
    that happened gave.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"decision": "approve", "note": "checked"}}
    )

    decision: Literal["approve", "reject", "happened", "not_happened", "abort"]
    note: Annotated[str, Field(max_length=MAX_NOTE)] | None = None
    arguments: JsonObject | None = None
    sticky: bool = False
    output: Any = None

    @property
    def kind(self) -> DecisionKind:
        return DecisionKind(self.decision)


class OneOfMany(Decision):
    """A decision that names its approval."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"example": None})

    approval_id: str


class Decisions(Request):
    decisions: Annotated[list[OneOfMany], Field(min_length=1, max_length=MAX_DECISIONS)]


class NewItems(Request):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"items": [{"role": "user", "content": "My name is Ana."}]}},
    )

    items: list[JsonObject]


class NewErasure(Request):
    """Whose data: one of the four. At most `limit` sessions at a time; `next_cursor` leads on."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"session_id": "customer-42"}}
    )

    session_id: Name | None = None
    prefix: Name | None = None
    owner: Name | None = None
    everything: bool = False
    limit: Annotated[int, Field(json_schema_extra={"minimum": 1, "maximum": 100})] = 100
    cursor: Name | None = None


class NotErased(Response):
    session_id: str
    reason: str


class Erasure(Response):
    sessions: int
    left: list[NotErased]
    next_cursor: str | None


class SessionImport(Request):
    """The lines of an export; `session_id` instead of the id that they name."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"lines": ['{"turnkeeper":"session","version":1,"id":"customer-42"}']}},
    )

    lines: list[str]
    session_id: Name | None = None


class Repair(Request):
    remove_unreadable: bool = False


class MoreInput(Request):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"example": {"input": "It is the blue one."}}
    )

    input: str | list[JsonObject]


class RunState(BaseModel):
    """A parked run; what is in it is for `POST /v1/runs/import`, and checked there."""

    model_config = ConfigDict(extra="allow")

    version: Any


class SessionChange(Request):
    """What is left out stays as it is; null takes away."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"example": {"owner": "ana", "metadata": {"plan": "gold"}}},
    )

    owner: Name | None = None
    metadata: JsonObject | None = None
    retention_seconds: Annotated[float, Field(json_schema_extra={"exclusiveMinimum": 0})] | None = None
