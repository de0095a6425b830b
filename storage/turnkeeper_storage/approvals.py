"""What a person's decision does, as pure functions that return frozen verdicts.

    pending ──approve──▶ approved        the call is planned, with edited arguments if there are some
       │    ──reject───▶ rejected        the call is denied; its output says so and the model goes on
       │    ──time─────▶ expired         the same, because nobody decided in time
       └─── run ends ──▶ cancelled

A call in doubt (it was under way when its worker died) has three answers of its own: it `happened`, with this
output; it did `not_happened`, run it; `abort` the run. One decision wins. The same decision again gets the
same answer, any other is told how it was decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from turnkeeper_storage.errors import ApprovalConflict, InvalidInput
from turnkeeper_storage.ids import check_session_id
from turnkeeper_storage.items import decode
from turnkeeper_storage.model import Approval, ApprovalReason, ApprovalStatus, CallStatus, Run, ToolCall
from turnkeeper_storage.outputs import FUNCTION, MCP, UNKNOWN_TEXT

REJECTED_TEXT = "Tool execution was not approved."
EXPIRED_TEXT = "Tool execution was not approved: nobody decided in time."
ABORTED_TEXT = f"{UNKNOWN_TEXT} The run was aborted."
UNDECIDED_TEXT = f"{UNKNOWN_TEXT} Nobody decided in time."
MAX_NOTE = 4_000


class DecisionKind(StrEnum):
    """The answers that there are; the last three are for a call in doubt."""

    APPROVE = "approve"
    REJECT = "reject"
    HAPPENED = "happened"
    NOT_HAPPENED = "not_happened"
    ABORT = "abort"


IN_DOUBT_KINDS = frozenset({DecisionKind.HAPPENED, DecisionKind.NOT_HAPPENED, DecisionKind.ABORT})


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decided. `by` is who; `note` a remark, or the reason of a rejection.

    `arguments`: the text to run the tool with instead (approve). `sticky`: for all calls of this tool in this
    run. `output`: what a call that `happened` gave. `digest`: when given, the `arguments_digest` that was
    looked at; the decision is refused when the call has other arguments.
    """

    kind: DecisionKind
    by: str
    note: str | None = None
    arguments: str | None = None
    sticky: bool = False
    output: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """The decision stands: what becomes of the approval and of its call.

    `arguments` replace the call's when not None; `cancels`: the run ends instead of going on.
    """

    status: ApprovalStatus
    call_status: CallStatus
    call_output: str | None = None
    arguments: str | None = None
    outcome: str | None = None
    cancels: bool = False


@dataclass(frozen=True, slots=True)
class Repeated:
    """It was decided just so before."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It lost against `state` (see ApprovalConflict).

    `expires`: the approval's time is over, and nobody wrote that yet.
    """

    state: str
    expires: bool = False


Verdict: TypeAlias = Applied | Repeated | Refused


def check_decision(decision: Decision) -> Decision:
    """The decision as given. Raises InvalidInput for what fits no approval at all."""
    check_session_id(decision.by, field="by")
    note = decision.note
    if note is not None:
        if len(note) > MAX_NOTE:
            raise InvalidInput(
                "note", f"has {len(note):,} characters", f"use at most {MAX_NOTE:,} and link to the rest"
            )
        if any(char == "\0" or 0xD800 <= ord(char) < 0xE000 for char in note):
            raise InvalidInput("note", "has NUL or lone surrogates", "leave them out")
    kind = decision.kind
    if decision.arguments is not None and kind is not DecisionKind.APPROVE:
        raise InvalidInput("arguments", f"are given to {kind.value}", "edit arguments with approve only")
    if decision.sticky and kind in IN_DOUBT_KINDS:
        raise InvalidInput("sticky", f"is given to {kind.value}", "each call in doubt is decided on its own")
    if (decision.output is not None) != (kind is DecisionKind.HAPPENED):
        said = "is missing" if kind is DecisionKind.HAPPENED else f"is given to {kind.value}"
        raise InvalidInput("output", said, "say what the call gave with happened, and with nothing else")
    return decision


def decide(
    approval: Approval, run: Run, call: ToolCall, request: Decision, *, is_expired: bool, is_available: bool
) -> Verdict:
    """What a decision does. The clock is the caller's: `is_expired`, `is_available` are the database's view.

    Raises InvalidInput for a decision that does not fit the approval.
    """
    check_decision(request)
    _check_fit(approval, call, request)
    if not approval.is_pending:
        return Repeated() if _is_same(approval, call, request) else Refused(approval.status.value)
    if run.status.is_terminal:
        return Refused(f"run_{run.status.value}")
    if is_expired:
        return Refused(ApprovalStatus.EXPIRED.value, expires=True)
    if request.digest is not None and request.digest != approval.arguments_digest:
        return Refused("changed")
    return _apply(approval, call, request) if is_available else Refused("not_available")


def expire(approval: Approval) -> Applied:
    """What it does that nobody decided in time: a rejection, unless the call may have run."""
    doubtful = approval.reason is ApprovalReason.IN_DOUBT
    text = UNDECIDED_TEXT if doubtful else EXPIRED_TEXT
    return Applied(ApprovalStatus.EXPIRED, CallStatus.DENIED, text)


def follow(approval: Approval, decided: Approval, request: Decision) -> Applied | None:
    """What a sticky decision on `decided` does to another open approval of its run; None: nothing."""
    same_tool = (approval.tool, approval.tool_digest) == (decided.tool, decided.tool_digest)
    if not request.sticky or not same_tool or approval.reason is not ApprovalReason.GATED:
        return None
    if request.kind is DecisionKind.APPROVE:
        return Applied(ApprovalStatus.APPROVED, CallStatus.PLANNED)
    return Applied(ApprovalStatus.REJECTED, CallStatus.DENIED, rejection_text(request.note))


def rejection_text(reason: str | None) -> str:
    """What the model is told about a rejected call."""
    return f"{REJECTED_TEXT} Reason: {reason}" if reason else REJECTED_TEXT


def raise_conflict(approval_id: str, conflict: str | None) -> None:
    """Raise ApprovalConflict when a decision lost: for after the commit, because an expiry may be in it."""
    if conflict is not None:
        raise ApprovalConflict(approval_id, conflict)


def _apply(approval: Approval, call: ToolCall, request: Decision) -> Applied:
    approved, rejected = ApprovalStatus.APPROVED, ApprovalStatus.REJECTED
    match request.kind:
        case DecisionKind.APPROVE if call.kind == MCP:  # nothing runs here: the answer is all there is
            return Applied(approved, CallStatus.DONE, "")
        case DecisionKind.APPROVE:
            return Applied(approved, CallStatus.PLANNED, arguments=request.arguments)
        case DecisionKind.REJECT:
            return Applied(rejected, CallStatus.DENIED, rejection_text(request.note))
        case DecisionKind.HAPPENED:
            return Applied(approved, CallStatus.DONE, request.output, outcome=request.kind.value)
        case DecisionKind.NOT_HAPPENED:
            return Applied(approved, CallStatus.PLANNED, outcome=request.kind.value)
        case DecisionKind.ABORT:
            outcome = request.kind.value
            return Applied(rejected, CallStatus.CLOSED, ABORTED_TEXT, outcome=outcome, cancels=True)


def _check_fit(approval: Approval, call: ToolCall, request: Decision) -> None:
    doubtful = approval.reason is ApprovalReason.IN_DOUBT
    if doubtful != (request.kind in IN_DOUBT_KINDS):
        fitting = "happened, not_happened or abort" if doubtful else "approve or reject"
        raise InvalidInput(
            "decision",
            f"is {request.kind.value} for a call that is {approval.reason.value}",
            f"use {fitting}",
        )
    if request.arguments is None:
        return
    if call.kind == MCP:
        raise InvalidInput(
            "arguments", "are edited for a tool of an MCP server", "approve the call as it is, or reject it"
        )
    if call.kind == FUNCTION and not _is_object(request.arguments):
        raise InvalidInput("arguments", "are no JSON object", 'send the text of one, e.g. {"amount": 5}')


def _is_object(text: str) -> bool:
    try:
        return isinstance(decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_same(approval: Approval, call: ToolCall, request: Decision) -> bool:
    if request.sticky and not approval.sticky:
        return False
    match request.kind:
        case DecisionKind.APPROVE:
            same_arguments = request.arguments == approval.edited_arguments
            return approval.status is ApprovalStatus.APPROVED and same_arguments
        case DecisionKind.REJECT:
            return approval.status is ApprovalStatus.REJECTED
        case DecisionKind.HAPPENED:
            return approval.outcome == request.kind.value and call.output == request.output
        case _:
            return approval.outcome == request.kind.value
