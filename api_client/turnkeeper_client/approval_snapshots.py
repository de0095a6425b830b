"""Approvals as clients hand them out: frozen values, each with its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from turnkeeper_storage.items import Json, decode
from turnkeeper_storage.model import Approval, ApprovalReason, ApprovalStatus


@dataclass(frozen=True, slots=True)
class ApprovalSnapshot:
    """One tool call that waits for a person, or had a decision, as it stood when it was read.

    `arguments` is the object that the tool would be called with; the text as it came where it is no JSON
    object. `edited_arguments` replaced it, None for none. `reason`: the tool is `gated`, the arguments are
    `malformed`, or the call is `in_doubt` (its worker died in it: use `resolve`). `available`: a decision is
    possible now. `note` is the remark of an approval or the reason of a rejection; `outcome` what was said of
    a call in doubt. Nobody can decide after `expires_at`, nor before `available_at`.
    """

    id: str
    run_id: str
    session_id: str
    tenant: str
    call_id: str
    turn: int
    tool: str
    arguments: Json
    reason: ApprovalReason
    status: ApprovalStatus
    available: bool
    edited_arguments: Json
    outcome: str | None
    sticky: bool
    decided_by: str | None
    decided_at: datetime | None
    note: str | None
    expires_at: datetime | None
    available_at: datetime | None
    created_at: datetime | None

    @classmethod
    def of(cls, approval: Approval) -> ApprovalSnapshot:
        """The public side of a stored approval."""
        edited = approval.edited_arguments
        return cls(
            id=approval.id,
            run_id=approval.run_id,
            session_id=approval.session_id,
            tenant=approval.tenant,
            call_id=approval.call_id,
            turn=approval.turn,
            tool=approval.tool,
            arguments=as_object(approval.arguments),
            reason=approval.reason,
            status=approval.status,
            available=approval.available,
            edited_arguments=None if edited is None else as_object(edited),
            outcome=approval.outcome,
            sticky=approval.sticky,
            decided_by=approval.decided_by,
            decided_at=approval.decided_at,
            note=approval.note,
            expires_at=approval.expires_at,
            available_at=approval.available_at,
            created_at=approval.created_at,
        )

    def as_json(self) -> dict[str, Json]:
        """Plain JSON; instants in ISO 8601 with their zone."""
        return {
            "id": self.id,
            "run_id": self.run_id,
            "session_id": self.session_id,
            "tenant": self.tenant,
            "call_id": self.call_id,
            "turn": self.turn,
            "tool": self.tool,
            "arguments": self.arguments,
            "reason": self.reason.value,
            "status": self.status.value,
            "available": self.available,
            "edited_arguments": self.edited_arguments,
            "outcome": self.outcome,
            "sticky": self.sticky,
            "decided_by": self.decided_by,
            "decided_at": _text(self.decided_at),
            "note": self.note,
            "expires_at": _text(self.expires_at),
            "available_at": _text(self.available_at),
            "created_at": _text(self.created_at),
        }


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """Approvals, newest first; `next_cursor` leads to older ones, None at the end."""

    approvals: tuple[ApprovalSnapshot, ...]
    next_cursor: str | None

    def as_json(self) -> dict[str, Json]:
        return {"approvals": [one.as_json() for one in self.approvals], "next_cursor": self.next_cursor}


def as_object(text: str) -> Json:
    """The object that arguments are; the text as it came where it is none."""
    try:
        value = decode(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
