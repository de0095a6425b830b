"""Approvals: list, look, decide one or many. Who decides is the credential, never the body."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from turnkeeper_api import responses
from turnkeeper_api.access import Access, Caller
from turnkeeper_api.credentials import Scope
from turnkeeper_api.parameters import ApprovalId, Cursor, Limit, OfRun, OfSession
from turnkeeper_api.problems import problem_of
from turnkeeper_api.responses import GUARDED, NO_APPROVAL, READING, told, written
from turnkeeper_api.schemas import (
    ApprovalPage,
    ApprovalSnapshot,
    Decision,
    DecisionResults,
    Decisions,
    OneOfMany,
)
from turnkeeper_client import ApprovalSnapshot as Snapshot
from turnkeeper_storage.approvals import DecisionKind
from turnkeeper_storage.errors import Conflict, InvalidInput, NotFound
from turnkeeper_storage.items import Json

Status = Literal["pending", "approved", "rejected", "expired", "cancelled", "all"]
_LOSING = (NO_APPROVAL, responses.LOST, responses.INPUT_TOO_LARGE)


def approvals_router(access: Access) -> APIRouter:
    """The routes under /v1/approvals."""
    router = APIRouter(prefix="/v1/approvals", tags=["approvals"])
    reads, decides = access.needs(Scope.APPROVALS_READ), access.needs(Scope.APPROVALS_DECIDE)

    @router.get(
        "",
        responses=told(ApprovalPage, "A page, newest first.", *GUARDED, responses.NO_RUN),
    )
    async def list_approvals(
        status: Annotated[Status, Query(description="Only in this status; all of them: all.")] = "pending",
        session_id: OfSession = None,
        run_id: OfRun = None,
        tool: Annotated[str | None, Query(description="Only of this tool.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        caller: Caller = reads,
    ) -> Response:
        """List approvals; those that wait for a person, unless told otherwise."""
        wanted = None if status == "all" else status
        page = await caller.client.approvals(wanted, session_id, run_id, tool, limit, cursor)
        return written(page.as_json())

    @router.get(
        "/{approval_id}",
        responses=told(ApprovalSnapshot, "As it stands.", *GUARDED, NO_APPROVAL),
    )
    async def get_approval(approval_id: ApprovalId, caller: Caller = reads) -> Response:
        """Look at an approval."""
        return written((await caller.client.approval(approval_id)).as_json())

    @router.post(
        "/{approval_id}/decide",
        responses=told(
            ApprovalSnapshot, "The decision stands, now or since before.", *GUARDED, *READING, *_LOSING
        ),
    )
    async def decide(approval_id: ApprovalId, decision: Decision, caller: Caller = decides) -> Response:
        """Decide. The same decision again gets the same answer; one that lost gets 409 with the `state`."""
        return written((await decide_as(caller, approval_id, decision)).as_json())

    @router.post(
        "/decide",
        responses=told(DecisionResults, "What became of each, in the order given.", *GUARDED, *READING),
    )
    async def decide_many(request: Request, many: Decisions, caller: Caller = decides) -> Response:
        """Decide on several, one after the other: one that loses does not hold up the rest."""
        request_id = str(request.state.request_id)
        results = [await _result(caller, one, request_id) for one in many.decisions]
        return written({"results": results})

    return router


async def decide_as(caller: Caller, approval_id: str, said: Decision) -> Snapshot:
    """Decide as was said, in the caller's name. Raises what `approve`, `reject` and `resolve` do."""
    client, by = caller.client, caller.by
    match said.kind:
        case DecisionKind.APPROVE:
            _unused(said, "output")
            return await client.approve(
                approval_id, by=by, note=said.note, arguments=said.arguments, sticky=said.sticky
            )
        case DecisionKind.REJECT:
            _unused(said, "output", "arguments")
            return await client.reject(approval_id, by=by, reason=said.note, sticky=said.sticky)
        case _:
            _unused(said, "arguments", "sticky")
            return await client.resolve(
                approval_id, by=by, outcome=said.decision, output=said.output, note=said.note
            )


def _unused(said: Decision, *fields: str) -> None:
    for name in fields:
        if getattr(said, name):
            raise InvalidInput(name, f"is given to {said.decision}", "leave it out")


async def _result(caller: Caller, one: OneOfMany, request_id: str) -> dict[str, Json]:
    try:
        decided = await decide_as(caller, one.approval_id, one)
    except (Conflict, NotFound, InvalidInput) as error:
        problem = problem_of(error)
        return {
            "approval_id": one.approval_id,
            "status": problem.status,
            "approval": None,
            "problem": problem.as_json(request_id),
        }
    return {"approval_id": one.approval_id, "status": 200, "approval": decided.as_json(), "problem": None}
