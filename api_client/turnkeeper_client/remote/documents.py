"""Documents of the HTTP API, read back into the values that they were written from. Pure.

What a newer server says besides is passed over; what an older one does not say is as if it were not there.
"""

from __future__ import annotations

from datetime import datetime

from turnkeeper_client.approval_snapshots import ApprovalPage, ApprovalSnapshot
from turnkeeper_client.at_work import ToolCallSnapshot, WorkerSnapshot
from turnkeeper_client.erasing import Erasure, NotErased
from turnkeeper_client.events import RunEvent
from turnkeeper_client.readiness import Readiness
from turnkeeper_client.snapshots import EditPage, RunPage, RunSnapshot, SessionInfo, SessionPage
from turnkeeper_storage.checking import SessionCheck
from turnkeeper_storage.history_faults import FaultKind, HistoryFault
from turnkeeper_storage.items import Json
from turnkeeper_storage.model import (
    AgentRecord,
    ApprovalReason,
    ApprovalStatus,
    CallStatus,
    RunError,
    RunStatus,
    Usage,
)
from turnkeeper_storage.session_edits import EditAction, SessionEdit


def run_of(document: Json) -> RunSnapshot:
    """What `RunSnapshot.as_json` wrote."""
    error = document["error"]
    return RunSnapshot(
        id=document["id"],
        session_id=document["session_id"],
        tenant=document["tenant"],
        seq=document["seq"],
        status=RunStatus(document["status"]),
        agent=document["agent"],
        output=document["output"],
        error=None if error is None else RunError(error["code"], error["message"]),
        usage=Usage.from_json(document["usage"]),
        turn=document["turn"],
        metadata=document["metadata"],
        cancel_requested=document["cancel_requested"],
        idempotency_key=document["idempotency_key"],
        created_at=_instant(document["created_at"]),
        started_at=_instant(document["started_at"]),
        finished_at=_instant(document["finished_at"]),
        approvals=tuple(approval_of(one) for one in document["approvals"]),
        deadline=_instant(document.get("deadline")),
    )


def run_page_of(document: Json) -> RunPage:
    return RunPage(tuple(run_of(one) for one in document["runs"]), document["next_cursor"])


def approval_of(document: Json) -> ApprovalSnapshot:
    """What `ApprovalSnapshot.as_json` wrote."""
    return ApprovalSnapshot(
        id=document["id"],
        run_id=document["run_id"],
        session_id=document["session_id"],
        tenant=document["tenant"],
        call_id=document["call_id"],
        turn=document["turn"],
        tool=document["tool"],
        arguments=document["arguments"],
        reason=ApprovalReason(document["reason"]),
        status=ApprovalStatus(document["status"]),
        available=document["available"],
        edited_arguments=document["edited_arguments"],
        outcome=document["outcome"],
        sticky=document["sticky"],
        decided_by=document["decided_by"],
        decided_at=_instant(document["decided_at"]),
        note=document["note"],
        expires_at=_instant(document["expires_at"]),
        available_at=_instant(document["available_at"]),
        created_at=_instant(document["created_at"]),
    )


def approval_page_of(document: Json) -> ApprovalPage:
    return ApprovalPage(tuple(approval_of(one) for one in document["approvals"]), document["next_cursor"])


def event_of(document: Json) -> RunEvent:
    """What `RunEvent.as_json` wrote."""
    return RunEvent(
        document["cursor"],
        document["n"],
        document["type"],
        document["data"],
        document["run_id"],
        _instant(document["created_at"]),
    )


def session_of(document: Json) -> SessionInfo:
    """What `SessionInfo.as_json` wrote."""
    return SessionInfo(
        id=document["id"],
        tenant=document["tenant"],
        store=document["store"],
        runs=document["runs"],
        items=document["items"],
        created_at=datetime.fromisoformat(document["created_at"]),
        updated_at=datetime.fromisoformat(document["updated_at"]),
        owner=document["owner"],
        metadata=document["metadata"],
        retention_seconds=document["retention_seconds"],
    )


def session_page_of(document: Json) -> SessionPage:
    return SessionPage(tuple(session_of(one) for one in document["sessions"]), document["next_cursor"])


def edit_page_of(document: Json) -> EditPage:
    """What `EditPage.as_json` wrote."""
    return EditPage(tuple(_edit_of(one) for one in document["edits"]), document["next_cursor"])


def erasure_of(document: Json) -> Erasure:
    """What `Erasure.as_json` wrote."""
    left = tuple(NotErased(one["session_id"], one["reason"]) for one in document["left"])
    return Erasure(document["sessions"], left, document["next_cursor"])


def check_of(document: Json) -> SessionCheck:
    """What `SessionCheck.as_json` wrote."""
    faults = tuple(
        HistoryFault(one["place"], FaultKind(one["kind"]), one["type"], one["item_id"])
        for one in document["faults"]
    )
    return SessionCheck(document["id"], document["items"], faults, document["in_use"], document["removed"])


def agent_of(document: Json) -> AgentRecord:
    """What `agent_as_json` wrote."""
    return AgentRecord(
        document["name"],
        document["digest"],
        document["queue"],
        document["tools"],
        _instant(document["seen_at"]),
    )


def worker_of(document: Json) -> WorkerSnapshot:
    """What `WorkerSnapshot.as_json` wrote."""
    return WorkerSnapshot(
        name=document["name"],
        queue=document["queue"],
        slots=document["slots"],
        in_flight=document["in_flight"],
        live=document["live"],
        lost=document["lost"],
        silent=document["silent"],
        started_at=_instant(document["started_at"]),
        seen_at=_instant(document["seen_at"]),
    )


def call_of(document: Json) -> ToolCallSnapshot:
    """What `ToolCallSnapshot.as_json` wrote."""
    return ToolCallSnapshot(
        call_id=document["call_id"],
        turn=document["turn"],
        name=document["name"],
        arguments=document["arguments"],
        status=CallStatus(document["status"]),
        output=document["output"],
        planned_at=datetime.fromisoformat(document["planned_at"]),
        started_at=_instant(document["started_at"]),
        ended_at=_instant(document["ended_at"]),
    )


def readiness_of(document: Json) -> Readiness:
    """What `Readiness.as_json` wrote."""
    checks = document["checks"]
    return Readiness(checks["database"], checks["migrations"], checks["broker"])


def _edit_of(document: Json) -> SessionEdit:
    return SessionEdit(
        id=document["id"],
        tenant=document["tenant"],
        session_id=document["session_id"],
        action=EditAction(document["action"]),
        by=document["by"],
        items=document["items"],
        fields=tuple(document["fields"]),
        created_at=datetime.fromisoformat(document["created_at"]),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
